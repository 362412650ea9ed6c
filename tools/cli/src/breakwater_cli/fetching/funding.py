"""Funding rates from the exchange's REST interface into one CSV file per symbol: `symbol,timestamp,funding_rate`.

Rates keep the exchange's digits; stamps are milliseconds since 1970. A file is replaced as a whole and grows at both
ends: what is between its first and last stamp is not asked for again.
"""

import csv
import io
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import Rejected
from breakwater_cli.fetching.directory import replace_text
from breakwater_cli.fetching.periods import DAY_MS, beyond
from breakwater_cli.fetching.retries import Retries
from breakwater_core.decimals import from_text, to_text
from breakwater_core.errors import InvalidInputError
from breakwater_recordings.coverage import Interval as Span

COLUMNS = ("symbol", "timestamp", "funding_rate")
_SPAN_MS = 60 * DAY_MS
"""Asked for at once: 180 stamps of eight hours fit one page of the exchange, more are paged."""


@dataclass(frozen=True, slots=True)
class FundingCounts:
    """What was done for one symbol.

    Attributes:
        fetched: Rates fetched.
        held: Rates in the file.
    """

    fetched: int
    held: int


async def fetch_funding(
    client: BybitClient, symbol: str, span: Span, directory: Path, *, retries: Retries | None = None
) -> FundingCounts:
    """Fetch what the folder lacks of the symbol's rates settled within the span into `<symbol>.csv`.

    Raises:
        InvalidInputError: If the exchange knows no such symbol, or the file is damaged.
        TransientError: If the exchange could not be asked in all tries; the file is as it was.
    """
    retries = retries or Retries()
    path = directory / f"{symbol}.csv"
    held = _read(path, symbol) if path.exists() else {}
    end_ms = min(span[1], await retries.run(client.server_time_ms))
    known = (min(held), max(held) + 1) if held else None
    found: dict[int, Decimal] = {}
    for missing in beyond((span[0], end_ms), known) if span[0] < end_ms else []:
        for start_ms in range(*missing, _SPAN_MS):
            last_ms = min(start_ms + _SPAN_MS, missing[1]) - 1
            found |= await _ask(client, symbol, (start_ms, last_ms), retries)
    if found:
        rates = held | found
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((symbol, stamp_ms, to_text(rates[stamp_ms])) for stamp_ms in sorted(rates))
        replace_text(path, text.getvalue())
    return FundingCounts(fetched=len(found), held=len(held | found))


async def _ask(client: BybitClient, symbol: str, span: Span, retries: Retries) -> dict[int, Decimal]:
    try:
        rates = await retries.run(lambda: client.funding_history(symbol, start_ms=span[0], end_ms=span[1]))
    except Rejected as error:
        raise InvalidInputError(f"{symbol}: {error}; check its spelling") from error
    return {rate.time_ms: rate.rate for rate in rates if span[0] <= rate.time_ms <= span[1]}


def _read(path: Path, symbol: str) -> dict[int, Decimal]:
    rates: dict[int, Decimal] = {}
    mend = "remove the file and fetch it again"
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.reader(stream)
        if tuple(next(rows, ())) != COLUMNS:
            raise InvalidInputError(f"{path}, row 1: must be {','.join(COLUMNS)}; {mend}")
        for number, row in enumerate(rows, start=2):
            try:
                name, stamp, rate = row
                stamp_ms, value = int(stamp), from_text(rate)
            except ValueError as error:
                raise InvalidInputError(
                    f"{path}, row {number}: {','.join(row)!r} is no funding rate; {mend}"
                ) from error
            if name != symbol:
                raise InvalidInputError(f"{path}, row {number}: symbol is {name!r} instead of {symbol}; {mend}")
            if rates and stamp_ms <= next(reversed(rates)):
                raise InvalidInputError(f"{path}, row {number}: its time is not after that of the row above; {mend}")
            rates[stamp_ms] = value
    return rates
