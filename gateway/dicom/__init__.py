"""The DICOM format: identifiers, headers, JSON and XML, matching. Knows no server."""
