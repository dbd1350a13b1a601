"""The harness is a package of its own beside the tests, which its script uses without pytest."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
