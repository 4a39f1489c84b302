"""`python -m icehouse.client.cli`: the same as `icehouse`."""

import sys

from icehouse.client.cli import main

sys.exit(main())
