"""Tests of gateway.config; a package, as other folders have files of the same names."""
