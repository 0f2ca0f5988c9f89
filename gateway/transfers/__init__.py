"""Transfers: what passes between the archive and remote servers, as work for jobs."""
