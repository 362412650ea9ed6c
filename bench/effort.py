"""How much a run of the benchmarks takes upon itself, and where it keeps its files."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Effort:
    """Sizes of a run.

    Attributes:
        folder: Recordings are kept here, everything else is removed when it is done with.
        repetitions: How often each figure is measured.
        is_quick: Small sizes, to see that the benchmarks work; the figures mean nothing then.
    """

    folder: Path
    repetitions: int = 3
    is_quick: bool = False

    def pick[T](self, full: T, quick: T) -> T:
        """Return the size for this run."""
        return quick if self.is_quick else full

    def scratch(self, name: str) -> Path:
        """Return an empty folder of the run."""
        path = self.folder / "scratch" / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def tell(self, text: str) -> None:
        """Say on standard error what is being done."""
        sys.stderr.write(f"   {text}\n")
        sys.stderr.flush()
