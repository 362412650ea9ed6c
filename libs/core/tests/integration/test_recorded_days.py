"""The strategy on recorded prices, against the naive one."""

import csv
import gzip
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from naive_strategy import SymbolDays, decide
from scenarios import Feeding, Scenario, closed_bar

from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Leg
from breakwater_core.session import Session

SHARED = Path(os.environ.get("BREAKWATER_SHARED", Path(__file__).parents[5] / "shared"))
MINUTES = SHARED / "data" / "klines_1m"
FIRST, DAYS = date(2023, 7, 19), 4
"""First complete day of the recordings used, and how many are traded after a week of warming up."""


def recorded(symbol: str, session: Session) -> SymbolDays:
    """Return days whose trades are the open, low, high and close of each recorded minute."""
    path = MINUTES / f"binance_usdm_{symbol}_1m_2023JulAug.csv.gz"
    if not path.exists():
        pytest.skip(f"no recording {path.name}; set BREAKWATER_SHARED to the folder that holds data/klines_1m")
    data = SymbolDays(symbol, [], {}, {})
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            stamp = row["timestamp"]
            minute = (
                datetime.fromtimestamp(int(stamp) / 1000, tz=UTC) if stamp.isdigit() else datetime.fromisoformat(stamp)
            )
            time_ms = round(minute.timestamp() * 1000)
            if FIRST <= session.day_of(time_ms) < FIRST + timedelta(days=7 + DAYS):
                prices = [float(row[column]) for column in ("open", "low", "high", "close")]
                data.trades += [(time_ms + 14_000 * index, price) for index, price in enumerate(prices)]
    by_day: dict[date, list[float]] = {}
    for time_ms, price in data.trades:
        by_day.setdefault(session.day_of(time_ms), []).append(price)
    for day, prices in by_day.items():
        data.closed[day] = closed_bar(symbol, day, (prices[0], max(prices), min(prices), prices[-1]))
        data.opened[day] = (prices[0], True)
    first_traded = session.day_start_ms(FIRST + timedelta(days=7))
    data.trades = [trade for trade in data.trades if trade[0] >= first_traded]
    return data


@pytest.mark.parametrize(
    "settings", [{}, {"filter": "contrarian", "stop_loss": 0.02}, {"noise_days": 5, "ma_price": "close"}]
)
def test_decisions_on_recorded_prices_are_those_of_the_description(settings: dict[str, object]) -> None:
    config = BreakwaterConfig.parse({"strategy": settings})
    symbols = [recorded(symbol, config.session.session()) for symbol in ("BTCUSDT", "DOGEUSDT")]
    days = [FIRST + timedelta(days=7 + number) for number in range(DAYS)]
    scenario = Scenario(config, symbols, days, salt=1, loses_outcomes=False)
    expected = decide(config, symbols, days, scenario.answer)
    assert {row[2] for row in expected} >= {Leg.ENTRY, Leg.EXIT}
    for feeding in (
        Feeding(seed=1, windows=0, longest_batch=5_000, runs_ahead=True, restarts=True),
        Feeding(seed=2, windows=300, longest_batch=40, runs_ahead=False, restarts=False),
    ):
        assert feeding.run(scenario) == expected
