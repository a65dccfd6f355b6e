"""`python -m adamergex`."""

import sys

from adamergex.cli import main

sys.exit(main())
