"""The transport formats: multipart bodies and media types. Knows no server."""
