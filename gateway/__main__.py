"""Lets ``python -m gateway`` do what ``dicomweb-gateway`` does."""

import sys

from gateway.cli import main

if __name__ == "__main__":
    sys.exit(main())
