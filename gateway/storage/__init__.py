"""Rows and files: the database, the index, the search, the blobs."""
