"""`python -m triptych` is the same as `triptych`."""

import sys

from triptych.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
