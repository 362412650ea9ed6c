"""Makes the helpers beside this file importable by the tests below it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
