"""A backtest from the command line: recording and configuration in, the report of a replay out, in one process."""

import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from breakwater_cli.summary import finish_report
from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.report import Report
from breakwater_recordings.funding import read_funding
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording
from breakwater_recordings.spread import read_spreads
from breakwater_research.backtest_engines import ENGINES, EngineName, NoBarsError
from breakwater_research.cost_records import CostRecords
from breakwater_research.report_files import write_report
from breakwater_research.tearsheet import render_html


@dataclass(frozen=True)
class BacktestRequest:
    """What a backtest is asked to do; see `breakwater backtest --help`.

    Attributes:
        engine: How it is computed; None: on bars if the recording is of candles, else tick by tick.
        output: Folder for report.json and report.html, or the report's own file, ending in `.json`; None: neither.
        page: File for the HTML page besides; None: only the one of the folder.
        funding: Files of recorded funding rates.
        books: Files of recorded best bids and asks, or `SYMBOL=FILE`.
    """

    sources: tuple[str, ...]
    config: BreakwaterConfig
    engine: EngineName | None = None
    start: date | None = None
    end: date | None = None
    output: Path | None = None
    page: Path | None = None
    run_id: str | None = None
    funding: tuple[Path, ...] = ()
    books: tuple[str, ...] = ()
    quiet: bool = False


def engine_of(name: str | None) -> EngineName | None:
    """Return the engine of the name; None stays None.

    Raises:
        InvalidInputError: If there is none.
    """
    try:
        return None if name is None else EngineName(name)
    except ValueError as error:
        raise InvalidInputError(f"--engine takes {', '.join(EngineName)}, was {name!r}") from error


def run_backtest(request: BacktestRequest) -> dict[str, Any]:
    """Run the backtest, write its files and return its report.

    Raises:
        InvalidInputError: If the recording is bad, has no complete day in the range, or a file cannot be written.
    """
    if not request.sources:
        raise InvalidInputError("no recording was given; name files, folders or SYMBOL=FILE")
    started = time.perf_counter()
    recording = open_recording(
        request.sources,
        session=request.config.session.session(),
        symbols=request.config.portfolio.symbols or None,
    )
    if not request.quiet:
        _tell_incomplete_days(recording, request)
    report = _compute(request, recording)
    finish_report(report, trades=report["counters"]["trades"], wall_seconds=time.perf_counter() - started)
    _write(report, request)
    return report


def _compute(request: BacktestRequest, recording: Recording) -> Report:
    """Return the report of the engine asked for, or of the one that fits, saying so where it is not the usual one."""

    def by(engine: EngineName) -> Report:
        return ENGINES[engine](
            recording,
            request.config,
            first_day=request.start,
            last_day=request.end,
            run_id=request.run_id,
            records=_records(request),
            on_day=None if request.quiet or not sys.stderr.isatty() else _show_day,
        )

    if request.engine is not None:
        return by(request.engine)
    try:
        return by(EngineName.BARS)
    except NoBarsError as error:
        if not request.quiet:
            sys.stderr.write(f"engine: tick ({error})\n")
        return by(EngineName.TICK)


def _tell_incomplete_days(recording: Recording, request: BacktestRequest) -> None:
    """Say which symbols lack data on days between others: those are entered only where the configuration says so."""
    counts = {}
    for symbol in recording.symbols:
        complete = recording.complete_days(symbol)
        if not complete:
            continue
        first, last = max(request.start or complete[0], complete[0]), min(request.end or complete[-1], complete[-1])
        missing = (last - first).days + 1 - sum(first <= day <= last for day in complete)
        if missing > 0:
            counts[symbol] = missing
    if counts:
        listed = ", ".join(f"{symbol} {count}" for symbol, count in counts.items())
        sys.stderr.write(f"incomplete days: {listed}; `breakwater data` lists their gaps\n")


def _records(request: BacktestRequest) -> CostRecords:
    return CostRecords(
        funding=read_funding(*request.funding) if request.funding else None,
        spreads=read_spreads(*request.books) if request.books else None,
    )


def _show_day(day: date, trades: int) -> None:
    sys.stderr.write(f"{day}  {trades:,} trades\n")


def _write(report: dict[str, Any], request: BacktestRequest) -> None:
    pages = [] if request.page is None else [request.page]
    output = request.output
    if output is not None:
        is_file = output.suffix == ".json"
        write_report(report, output if is_file else output / "report.json")
        if not is_file:
            pages.append(output / "report.html")
    if not pages:
        return
    text = render_html(report)
    for page in pages:
        try:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(f"{page}: cannot be written ({error.strerror}); choose another place") from error
