"""The settings: read once, checked, then handed down as plain values."""
