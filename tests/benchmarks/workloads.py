"""All workloads, in the order of the table."""

from . import archive, large, million, storing

WORKLOADS = (
    *storing.ALONE,
    *archive.ROWS,
    *storing.BESIDE,
    *million.ROWS,
    *large.ROWS,
)
