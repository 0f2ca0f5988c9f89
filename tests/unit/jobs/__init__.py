"""The engine of jobs, without the rest of the gateway."""
