"""How fast, how lean and how quick to answer, beside Orthanc on the same data."""
