"""`breakwater fetch`: candles, funding rates and trades from the exchange into files that recordings are read from.

Exit codes: 0 everything that was asked for and exists is there; 1 something could not be had (the rest is there: run
the command again); 2 bad input; 3 the exchange or the archive cannot be reached, or refuses this address; 130
interrupted.
"""

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from breakwater_cli.running import run_async
from breakwater_core.errors import BreakwaterError, InvalidInputError

if TYPE_CHECKING:
    from breakwater_bybit.client import BybitClient
    from breakwater_cli.fetching.retries import Retries

FAILED = 1
REST_URL = "https://api.bybit.com"
ARCHIVE_URL = "https://public.bybit.com/trading"

fetch = typer.Typer(
    name="fetch",
    no_args_is_help=True,
    help="Fetch market data: candles, funding rates, trades. What is there already is not fetched again; an "
    "interrupted fetch goes on where it was. Exit codes: 0 all there, 1 something could not be had, 2 bad input, "
    "3 the exchange or archive cannot be reached.",
)

SymbolsArgument = Annotated[list[str], typer.Argument(help="Symbols, e.g. BTCUSDT ETHUSDT.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder that is fetched into.")]
StartOption = Annotated[str, typer.Option("--start", "--first-day", help="First day (UTC), e.g. 2024-01-01.")]
EndOption = Annotated[
    str | None, typer.Option("--end", "--last-day", help="Last day (UTC), included; default: the last that is over.")
]
RestOption = Annotated[str, typer.Option("--rest-url", help="REST base of the exchange.")]
ShareOption = Annotated[
    float,
    typer.Option(
        "--budget-share",
        min=0.01,
        max=1.0,
        help="Share of the address's request limit (600 in 5 s) to use at most; other services may need the rest.",
    ),
]
TriesOption = Annotated[int, typer.Option(min=1, max=100, help="Tries in a row that may bring nothing.")]
ConnectionsOption = Annotated[int, typer.Option(min=1, max=16, help="Requests at a time.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines, and no progress bar.")]


@fetch.command()
def candles(
    symbols: SymbolsArgument,
    start: StartOption,
    out: OutOption,
    end: EndOption = None,
    interval: Annotated[str, typer.Option(help="Minutes as the exchange writes them (1, 5, 15, 60, ...), or D.")] = "1",
    rest_url: RestOption = REST_URL,
    budget_share: ShareOption = 0.5,
    tries: TriesOption = 6,
    connections: ConnectionsOption = 4,
    as_json: JsonOption = False,
) -> None:
    """Fetch closed candles over REST into Parquet, a file per symbol and month (an hour or longer: year)."""
    from breakwater_bybit.model import Interval
    from breakwater_cli.fetching.candles import CandleFetch, interval_name
    from breakwater_cli.fetching.periods import DAY_MS
    from breakwater_cli.fetching.progress import fetch_progress

    try:
        length = Interval(interval)
    except ValueError as error:
        raise InvalidInputError(f"--interval takes {', '.join(Interval)}, was {interval!r}") from error
    if length.milliseconds > DAY_MS:
        raise InvalidInputError(f"--interval must be a day at most, was {interval!r}")
    span = _span(start, end, today_included=True)
    total = (span[1] - span[0]) // length.milliseconds * len(symbols)

    async def work(client: "BybitClient", retries: "Retries", directory: Path) -> dict[str, Any]:
        with fetch_progress(f"candles {interval_name(length)}", total, quiet=as_json) as progress:
            job = CandleFetch(
                client=client,
                interval=length,
                directory=directory / f"candles-{interval_name(length)}",
                retries=retries,
                connections=connections,
                on_bars=progress.advance,
            )
            return await _each(symbols, lambda symbol: job.fetch(symbol, span))

    found, failures = _over_rest(work, out, rest_url=rest_url, share=budget_share, tries=tries, workers=connections)
    lines = [
        f"{symbol}: {counts['bars']:,} bars fetched in {counts['pages']} pages, {counts['files']} files written, "
        f"{counts['files_kept']} complete before, {counts['missing_bars']:,} bars missing at the exchange"
        for symbol, counts in found.items()
    ]
    _report({"symbols": found, "failures": failures}, lines, failures, as_json=as_json)


@fetch.command()
def funding(
    symbols: SymbolsArgument,
    start: StartOption,
    out: OutOption,
    end: EndOption = None,
    rest_url: RestOption = REST_URL,
    budget_share: ShareOption = 0.5,
    tries: TriesOption = 6,
    as_json: JsonOption = False,
) -> None:
    """Fetch settled funding rates over REST into one CSV file per symbol."""
    from breakwater_cli.fetching.funding import fetch_funding
    from breakwater_cli.fetching.progress import fetch_progress

    span = _span(start, end, today_included=True)

    async def work(client: "BybitClient", retries: "Retries", directory: Path) -> dict[str, Any]:
        with fetch_progress("funding", len(symbols), quiet=as_json) as progress:

            async def of_symbol(symbol: str) -> object:
                counts = await fetch_funding(client, symbol, span, directory / "funding", retries=retries)
                progress.advance()
                return counts

            return await _each(symbols, of_symbol)

    found, failures = _over_rest(work, out, rest_url=rest_url, share=budget_share, tries=tries, workers=4)
    lines = [
        f"{symbol}: {counts['fetched']:,} rates fetched, {counts['held']:,} held" for symbol, counts in found.items()
    ]
    _report({"symbols": found, "failures": failures}, lines, failures, as_json=as_json)


@fetch.command()
def trades(
    symbols: SymbolsArgument,
    start: StartOption,
    out: OutOption,
    end: EndOption = None,
    archive_url: Annotated[
        str, typer.Option(help="Address below which <symbol>/<symbol><day>.csv.gz lie.")
    ] = ARCHIVE_URL,
    connections: ConnectionsOption = 4,
    tries: TriesOption = 6,
    keep_downloads: Annotated[
        bool, typer.Option("--keep-downloads", help="Keep the archive's files in downloads/ once they are recorded.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare checksums of what is there, and ask again for absent days.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch days of trades from the public archive into a Parquet recording, with a manifest of checksums."""
    import httpx

    from breakwater_cli.fetching.archive import ArchiveCounts, ArchiveFetch
    from breakwater_cli.fetching.directory import sole_writer
    from breakwater_cli.fetching.periods import days_from, utc_day
    from breakwater_cli.fetching.progress import fetch_progress
    from breakwater_cli.fetching.retries import Retries

    _check_url("--archive-url", archive_url)
    span = _span(start, end, today_included=False)
    days = days_from(utc_day(span[0]), utc_day(span[1] - 1))

    async def work() -> ArchiveCounts:
        with (
            sole_writer(out) as directory,
            fetch_progress("files", len(days) * len(symbols), quiet=as_json) as progress,
        ):
            async with httpx.AsyncClient(
                timeout=30, headers={"User-Agent": "breakwater"}, follow_redirects=True
            ) as client:
                job = ArchiveFetch(
                    client=client,
                    archive_url=archive_url,
                    directory=directory,
                    today=datetime.now(UTC).date(),
                    retries=Retries(tries),
                    connections=connections,
                    keep_downloads=keep_downloads,
                    verify=verify,
                    on_bytes=progress.add_bytes,
                    on_day=progress.advance,
                )
                return await job.fetch(list(dict.fromkeys(symbols)), days)

    counts = run_async(work)
    line = (
        f"{counts.files:,} files fetched ({counts.bytes / 1e6:,.1f} MB, {counts.trades:,} trades), "
        f"{counts.kept:,} there before, {len(counts.absent):,} not in the archive"
    )
    lines = [line, *_absent_lines(counts.absent)]
    _report(asdict(counts), lines, counts.failures, as_json=as_json)


def _span(start: str, end: str | None, *, today_included: bool) -> tuple[int, int]:
    """Return the days as [start_ms, end_ms), up to the last day that is over, or to today.

    Raises:
        InvalidInputError: If a day is none, or the range is empty.
    """
    from breakwater_cli.fetching.periods import DAY_MS, day_start_ms, days_from

    first = _day(start, "--start")
    today = datetime.now(UTC).date()
    last = _day(end, "--end") if end is not None else today - timedelta(days=0 if today_included else 1)
    days_from(first, last)
    return day_start_ms(first), day_start_ms(last) + DAY_MS


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"{option} takes a day such as 2024-05-31, was {text!r}") from error


def _check_url(option: str, url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise InvalidInputError(f"{option} must start with http:// or https://, was {url!r}")


def _over_rest(
    work: "Callable[[BybitClient, Retries, Path], Awaitable[dict[str, Any]]]",
    out: Path,
    *,
    rest_url: str,
    share: float,
    tries: int,
    workers: int,
) -> tuple[dict[str, Any], list[str]]:
    """Run work with a client and the folder; return what it found per symbol, and its failures."""
    from breakwater_bybit.budget import ProcessBudget
    from breakwater_bybit.client import BybitClient
    from breakwater_cli.fetching.directory import sole_writer
    from breakwater_cli.fetching.retries import Retries

    _check_url("--rest-url", rest_url)

    async def run() -> dict[str, Any]:
        budget = ProcessBudget(share=share)
        with sole_writer(out) as directory:
            async with BybitClient(rest_url, budget=budget, workers=workers) as client:
                return await work(client, Retries(tries), directory)

    found = run_async(run)
    failures = [f"{symbol}: {result}" for symbol, result in found.items() if isinstance(result, BreakwaterError)]
    return {
        symbol: asdict(result) for symbol, result in found.items() if not isinstance(result, BreakwaterError)
    }, failures


async def _each(symbols: Sequence[str], work: Callable[[str], Awaitable[object]]) -> dict[str, Any]:
    """Return what the work returns per symbol, or how it failed: the others are fetched nevertheless.

    Raises:
        InvalidInputError: If a symbol is no name, or a file of the folder is damaged.
        DependencyError: If the exchange cannot be reached, or refuses this address.
    """
    from breakwater_bybit.errors import IpBanned, NotSent
    from breakwater_core.errors import PermanentError, TransientError
    from breakwater_core.identities import check_name
    from breakwater_runtime.errors import DependencyError

    found: dict[str, Any] = {}
    for symbol in dict.fromkeys(check_name("symbol", symbol) for symbol in symbols):
        try:
            found[symbol] = await work(symbol)
        except InvalidInputError:
            raise
        except (IpBanned, NotSent) as error:
            raise DependencyError(f"{symbol}: {error}") from error
        except (TransientError, PermanentError) as error:
            found[symbol] = error
    return found


def _absent_lines(sources: Sequence[str]) -> list[str]:
    """Return a line per symbol: how many days the archive does not have, the first and the last of them."""
    lines = []
    for symbol, files in groupby(sorted(sources), key=lambda source: source.partition("/")[0]):
        days = [source.partition("/")[2].removeprefix(symbol).removesuffix(".csv.gz") for source in files]
        lines.append(f"{symbol}: {len(days)} days are not in the archive, from {days[0]} to {days[-1]}")
    return lines


def _report(values: dict[str, Any], lines: Sequence[str], failures: Sequence[str], *, as_json: bool) -> None:
    sys.stdout.write((json.dumps(values) if as_json else "\n".join(lines)) + "\n")
    for failure in failures:
        sys.stderr.write(f"breakwater: {failure}\n")
    if failures:
        raise typer.Exit(FAILED)
