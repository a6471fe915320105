"""``python -m popinfer`` is the command ``popinfer``."""

import sys

from popinfer.cli import main

sys.exit(main())
