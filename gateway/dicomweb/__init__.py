"""The door of the standard: STOW-RS, QIDO-RS, WADO-RS."""
