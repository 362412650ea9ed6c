"""The progress bar of a fetch, on standard error; nothing is shown where that is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class FetchProgress:
    """What of a fetch is done with."""

    def __init__(self, bar: Progress, unit: str, total: int) -> None:
        """Add the bar's only row.

        Args:
            bar: Shows it.
            unit: What is counted.
            total: How many of them there are.
        """
        self._bar = bar
        self._bytes = 0
        self._task = bar.add_task(unit, total=total, note="")

    def advance(self, count: int = 1) -> None:
        """Note that so many more are done with."""
        self._bar.advance(self._task, count)

    def add_bytes(self, count: int) -> None:
        """Note that so many more bytes have come."""
        self._bytes += count
        self._bar.update(self._task, note=f"{self._bytes / 1e6:,.1f} MB")


@contextmanager
def fetch_progress(unit: str, total: int, *, quiet: bool) -> Iterator[FetchProgress]:
    """Show the progress of a fetch while the context is open."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        yield FetchProgress(bar, unit, total)
