"""The version that daemon and admin process tell: that of the code that runs.

Not what is installed under this name by now: while another release is being installed there is
none, and a daemon that starts at that moment must not end of it.
"""

import sys

# The facade is above us, and always loaded before us (the keeper, which runs without it, tells no
# version).
VERSION: str = sys.modules["icehouse"].__version__
