"""`python -m benchmarks`: `icehouse bench` on everything that is at hand beside this repository.

Takes the options of `icehouse bench`. To renew the page and the picture:

    python -m benchmarks --json >bench.json
    python benchmarks/publish.py bench.json
"""

import os
import sys
from pathlib import Path

from icehouse.client.cli import main

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"

if __name__ == "__main__":
    # The public documents lie beside the repository, from wherever this is run.
    if SHARED.is_dir():
        os.environ.setdefault("ICEHOUSE_SHARED", str(SHARED))
    sys.argv[1:1] = ["bench"]
    sys.exit(main())
