"""`python -m hasten`: the command line without an installed script."""

import sys

from hasten.cli import main

if __name__ == "__main__":
    sys.exit(main())
