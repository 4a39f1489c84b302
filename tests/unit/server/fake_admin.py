"""An admin process that only waits to be stopped, after it has said in a file that it runs."""

import os
import signal
from pathlib import Path

Path(os.environ["FAKE_ADMIN"]).write_text(str(os.getpid()))
signal.pause()
