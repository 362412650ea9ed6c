"""The benchmarks are a folder, not an installed package: make it importable as it is from the repository's root."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
