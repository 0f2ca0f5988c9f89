"""What an operator sees: numbers, logs, and whether the service manager is told."""
