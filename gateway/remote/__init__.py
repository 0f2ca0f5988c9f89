"""What every handler stands on."""
