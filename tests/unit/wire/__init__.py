"""Tests of gateway.wire; a package, as other folders have files of the same names."""
