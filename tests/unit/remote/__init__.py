"""Tests of gateway.remote; a package, as other folders have files of the same names."""
