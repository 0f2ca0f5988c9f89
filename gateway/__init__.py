"""The DICOMweb gateway: one package, floors going down (see docs/architecture.rst)."""
