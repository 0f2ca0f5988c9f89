"""Tests of what every handler stands on, without a server."""
