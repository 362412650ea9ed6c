"""Days worked out by hand, through every engine.

The market of most of them: AAAUSDT (tick 0.01, step 0.01, least value of an order 5) stands at 100. On the first day it
reaches 105 and 95, so R = 10; on the second day O = 100, so with k = 0.5 the targets are 105 and 95, and the moving
average of one day is 100. A candle that closes at or above its open is taken as open, low, high, close at its seconds
0, 15, 30 and 45, any other as open, high, low, close. Equity is 10,000 at leverage 1, the fee 0.1 %, no slippage, the
latency 50 ms: less than the 15 s between two prices, so an order fills at the price that caused it.
"""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from made_days import MINUTE_MS, MINUTES, Candle, Day, candle_recording

from breakwater_core.config import BreakwaterConfig
from breakwater_core.report import Report
from breakwater_core.session import Session
from breakwater_recordings.funding import FundingRecords, read_funding
from breakwater_recordings.spread import read_spreads
from breakwater_research.backtest_engines import ENGINES, BacktestEngine, EngineName
from breakwater_research.cost_records import NO_RECORDS, CostRecords

FIRST = date(2024, 3, 1)
SECOND = FIRST + timedelta(days=1)
SECOND_MS = Session().day_start_ms(SECOND)
DAY_MS = MINUTES * MINUTE_MS
HOUR_MS = 3_600_000
RANGE_OF_TEN = Day({1: (100, 105, 95, 100)})
RISE: Candle = (100, 106, 100, 106)  # 100, 100, 106, 106: above 105 at second 30
FALL: Candle = (100, 100, 94, 94)  # 100, 100, 94, 94: below 95 at second 30
SETTINGS: dict[str, dict[str, Any]] = {
    "strategy": {"ma_window": 1},
    "costs": {"slippage_bps": 0, "taker_fee": "0.001"},
    "portfolio": {"initial_equity": 10_000, "gross_leverage": 1},
}


@pytest.fixture(params=list(EngineName), ids=str)
def engine(request: pytest.FixtureRequest) -> BacktestEngine:
    return ENGINES[request.param]


@pytest.fixture
def play(engine: BacktestEngine, tmp_path: Path) -> Any:
    """Play days of AAAUSDT, the first of which is `RANGE_OF_TEN`, and return the report."""

    def run(
        *days: Day, records: CostRecords = NO_RECORDS, first: Day = RANGE_OF_TEN, **changes: dict[str, Any]
    ) -> Report:
        values = {section: entries | changes.get(section, {}) for section, entries in SETTINGS.items()}
        recording = candle_recording(tmp_path, [first, *days], first_day=FIRST)
        return engine(recording, BreakwaterConfig.parse({**changes, **values}), records=records)

    return run


def fills_of(report: Report) -> list[tuple[str, str, str, str, str]]:
    """Return kind, side, quantity, price and fee of each execution."""
    return [(fill["kind"], fill["side"], fill["qty"], fill["price"], fill["fee"]) for fill in report["fills"]]


def times_of(report: Report) -> list[int]:
    """Return the time of each execution, milliseconds into the second day."""
    return [fill["exec_time_ms"] - SECOND_MS for fill in report["fills"]]


def at(minute: int, second: int) -> int:
    """Return the time of an order's fill that was caused then, milliseconds into the day."""
    return minute * MINUTE_MS + second * 1000 + 50


EXIT = at(MINUTES - 1, 30)


def test_a_long(play: Any) -> None:
    """Bought at 106, sold at 110.

    10,000 / 106 = 94.339.. -> 94.33. Fees 94.33 * 106 * 0.001 = 9.99898 and 94.33 * 110 * 0.001 = 10.3763.
    94.33 * (110 - 106) = 377.32; 10,000 + 377.32 - 9.99898 - 10.3763 = 10,356.94472.
    """
    report = play(Day({600: RISE, 601: (110, 110, 110, 110)}))
    assert fills_of(report) == [
        ("trade", "buy", "94.33", "106", "9.99898"),
        ("trade", "sell", "94.33", "110", "10.3763"),
    ]
    assert times_of(report) == [at(600, 30), EXIT]
    assert [order["target_price"] for order in report["orders"]] == ["105", "110"]
    assert [day["equity"] for day in report["days"]] == ["10000", "10356.94472"]
    assert report["days"][-1]["ror"] == "1.035694472"


def test_a_short(play: Any) -> None:
    """Sold at 94, bought back at 90.

    10,000 / 94 = 106.382.. -> 106.38. Fees 106.38 * 94 * 0.001 = 9.99972 and 106.38 * 90 * 0.001 = 9.5742.
    106.38 * (94 - 90) = 425.52; 10,000 + 425.52 - 9.99972 - 9.5742 = 10,405.94608.
    """
    report = play(Day({600: FALL, 601: (90, 90, 90, 90)}))
    assert fills_of(report) == [
        ("trade", "sell", "106.38", "94", "9.99972"),
        ("trade", "buy", "106.38", "90", "9.5742"),
    ]
    assert times_of(report) == [at(600, 30), EXIT]
    assert report["days"][-1]["equity"] == "10405.94608"


@pytest.mark.parametrize(
    ("candle", "side", "price", "equity"),
    [
        pytest.param((100, 106, 94, 100), "sell", "94", "9341.08228", id="low first"),
        pytest.param((100, 106, 94, 99), "buy", "106", "9320.35235", id="high first"),
    ],
)
def test_of_two_targets_crossed_in_one_candle_the_first_on_its_path_is_entered(
    play: Any, candle: Candle, side: str, price: str, equity: str
) -> None:
    """100, 94, 106, 100 crosses 95 first; 100, 106, 94, 99 crosses 105 first. There is one entry a day.

    Short 106.38 at 94, bought back at 100: -638.28 - 9.99972 - 10.638 = -658.91772.
    Long 94.33 at 106, sold at 99: -660.31 - 9.99898 - 9.33867 = -679.64765.
    """
    report = play(Day({600: candle}))
    entry, _ = fills_of(report)
    assert (entry[1], entry[3]) == (side, price)
    assert times_of(report) == [at(600, 15), EXIT]
    assert report["days"][-1]["equity"] == equity


def test_a_gap_beyond_the_target_is_paid_in_full(play: Any) -> None:
    """The candle opens at 108, above the target of 105: bought at 108, not at 105.

    10,000 / 108 = 92.592.. -> 92.59. Sold at 109: 92.59 - 92.59 * 108 * 0.001 - 92.59 * 109 * 0.001
    = 92.59 - 9.99972 - 10.09231 = 72.49797.
    """
    report = play(Day({600: (108, 109, 108, 109)}))
    assert fills_of(report)[0] == ("trade", "buy", "92.59", "108", "9.99972")
    assert times_of(report)[0] == at(600, 0)
    assert report["orders"][0]["slippage_bps"] == "285.7143"  # 3 / 105
    assert report["days"][-1]["equity"] == "10072.49797"


def test_what_is_entered_shortly_before_the_exit_window_is_sold_as_it_opens(play: Any) -> None:
    """The last candle is 100, 106, 99, 99: 106 comes 45 s before the day's end, 99 as the window opens, 30 s before.

    94.33 * (99 - 106) = -660.31; fees 9.99898 and 94.33 * 99 * 0.001 = 9.33867.
    """
    report = play(Day({MINUTES - 1: (100, 106, 99, 99)}))
    assert fills_of(report) == [
        ("trade", "buy", "94.33", "106", "9.99898"),
        ("trade", "sell", "94.33", "99", "9.33867"),
    ]
    assert times_of(report) == [at(MINUTES - 1, 15), EXIT]
    assert report["days"][-1]["equity"] == "9320.35235"


def test_nothing_is_entered_inside_the_exit_window(play: Any) -> None:
    """The last candle is 100, 100, 106, 106: it crosses exactly as the window opens."""
    report = play(Day({MINUTES - 1: RISE}))
    assert report["fills"] == report["refused"] == []
    assert report["days"][-1]["equity"] == "10000"


@pytest.mark.parametrize(
    ("entry", "held", "side", "fee", "equity"),
    [
        # 94.33 * 110 * 0.001 = 10.3763 paid twice: 10,356.94472 - 20.7526
        pytest.param(RISE, 110, "buy", "10.3763", "10336.19212", id="a long pays"),
        # 106.38 * 90 * 0.001 = 9.5742 received twice: 10,405.94608 + 19.1484
        pytest.param(FALL, 90, "sell", "-9.5742", "10425.09448", id="a short receives"),
    ],
)
def test_a_positive_funding_rate_is_paid_by_longs_to_shorts_at_each_stamp(
    play: Any, entry: Candle, held: float, side: str, fee: str, equity: str
) -> None:
    """Held from 06:40 to the day's end at 0.1 % per stamp: 08:00 and 16:00 count, 00:00 comes after the exit."""
    report = play(Day({400: entry, 401: (held, held, held, held)}), costs={"funding_rate": "0.001"})
    funding = [fill for fill in report["fills"] if fill["kind"] == "funding"]
    assert [(fill["side"], fill["price"], fill["fee"]) for fill in funding] == [(side, str(held), fee)] * 2
    assert [fill["exec_time_ms"] - SECOND_MS for fill in funding] == [8 * HOUR_MS, 16 * HOUR_MS]
    assert report["days"][-1]["equity"] == equity


def test_recorded_funding_is_charged_every_four_hours_at_its_own_rates(play: Any, tmp_path: Path) -> None:
    """Held from 06:40 on. The stamp of 04:00 is before the entry; 08:00 is recorded 5 ms late and counts as 08:00.

    94.33 * 110 = 10,376.3 times 0.001 - 0.002 + 0.0003 + 0 (08:00, 12:00, 16:00, 20:00) = -0.0007 * 10,376.3
    = -7.26341: received. 10,356.94472 + 7.26341 = 10,364.20813.
    """
    path = tmp_path / "funding.csv"
    rows = [(4, 0, "0.01"), (8, 5, "0.001"), (12, 0, "-0.002"), (16, 1, "0.0003"), (20, 0, "0")]
    lines = [f"AAAUSDT,{SECOND_MS + hour * HOUR_MS + late_ms},{rate}" for hour, late_ms, rate in rows]
    path.write_text("\n".join(["symbol,timestamp,funding_rate", *lines]) + "\n")
    records = CostRecords(funding=read_funding(path))
    report = play(Day({400: RISE, 401: (110, 110, 110, 110)}), records=records, costs={"funding_rate": "0.04"})
    funding = [fill for fill in report["fills"] if fill["kind"] == "funding"]
    assert [fill["fee"] for fill in funding] == ["10.3763", "-20.7526", "3.11289"]
    assert [fill["exec_time_ms"] - SECOND_MS for fill in funding] == [8 * HOUR_MS, 12 * HOUR_MS, 16 * HOUR_MS]
    assert report["days"][-1]["equity"] == "10364.20813"
    assert report["counters"]["settlements_without_record"] == 0


def test_a_settlement_without_a_record_costs_the_constant_and_is_counted(play: Any) -> None:
    """Recorded is 00:00 of the day alone, so 08:00 and 16:00 cost the constant: twice 94.33 * 110 * 0.001 = 10.3763."""
    records = CostRecords(funding=FundingRecords.of({"AAAUSDT": {SECOND_MS: Decimal("0.02")}}))
    report = play(Day({400: RISE, 401: (110, 110, 110, 110)}), records=records, costs={"funding_rate": "0.001"})
    assert [fill["fee"] for fill in report["fills"] if fill["kind"] == "funding"] == ["10.3763"] * 2
    assert report["counters"]["settlements_without_record"] == 2


def test_a_position_is_closed_by_force_at_the_price_that_takes_its_margin(play: Any) -> None:
    """At leverage 9: 90,000 / 106 = 849.056.. -> 849.05, fee 849.05 * 106 * 0.001 = 89.9993, wallet 9,910.0007.

    It holds while 9,910.0007 + 849.05 * (P - 106) > 849.05 * P * (0.005 + 0.001), that is while
    P > (849.05 * 106 - 9,910.0007) / (849.05 * 0.994) = 94.8975. At 95 it holds, at 94.5 it is closed:
    849.05 * (94.5 - 106) = -9,764.075, fee 849.05 * 94.5 * 0.001 = 80.235225; 9,910.0007 - 9,844.310225 = 65.690475.
    """
    report = play(Day({600: RISE, 700: (95, 95, 95, 95), 701: (94.5, 120, 94.5, 120)}), portfolio={"gross_leverage": 9})
    assert fills_of(report) == [
        ("trade", "buy", "849.05", "106", "89.9993"),
        ("liquidation", "sell", "849.05", "94.5", "80.235225"),
    ]
    assert times_of(report) == [at(600, 30), 701 * MINUTE_MS]
    assert report["days"][-1]["equity"] == "65.690475"


def test_a_short_is_closed_by_force_when_the_price_rises(play: Any) -> None:
    """At leverage 9: 90,000 / 94 = 957.446.. -> 957.44, fee 957.44 * 94 * 0.001 = 89.99936, wallet 9,910.00064.

    It holds while 9,910.00064 + 957.44 * (94 - P) > 957.44 * P * 0.006, that is while P < 103.7285: at 103.7 it holds,
    at 104 it is closed. 957.44 * (94 - 104) = -9,574.4, fee 957.44 * 104 * 0.001 = 99.57376; 236.02688 is left.
    """
    report = play(
        Day({600: FALL, 700: (103.7, 103.7, 103.7, 103.7), 701: (104, 104, 80, 80)}), portfolio={"gross_leverage": 9}
    )
    assert fills_of(report)[1] == ("liquidation", "buy", "957.44", "104", "99.57376")
    assert report["days"][-1]["equity"] == "236.02688"


@pytest.mark.parametrize(("rule", "equity"), [("skip", "10000"), ("trade", "10356.94472")])
def test_a_day_that_lacks_minutes_is_entered_only_where_that_is_asked_for(play: Any, rule: str, equity: str) -> None:
    """As the long of 10,356.94472, but 05:00 to 05:01 are not in the file, and a whole third day follows."""
    report = play(
        Day({600: RISE, 601: (110, 110, 110, 110)}, missing=(300, 301)), Day(), session={"incomplete_days": rule}
    )
    assert report["days"][1]["equity"] == equity
    assert bool(report["orders"]) is (rule == "trade")


@pytest.mark.parametrize(("missing", "equity"), [((), "10356.94472"), ((1439,), "10000")])
def test_a_day_after_an_incomplete_one_is_not_entered(play: Any, missing: tuple[int, ...], equity: str) -> None:
    """The long of 10,356.94472 on the third day; the second, which gives R, lacks its last minute or is whole."""
    breakout = Day({600: RISE, 601: (110, 110, 110, 110)})
    report = play(Day(RANGE_OF_TEN.candles, missing=missing), breakout, first=Day())
    assert report["days"][-1]["day"] == "2024-03-03"
    assert report["days"][-1]["equity"] == equity


def test_quantities_are_rounded_down_prices_away_from_the_taker_and_fees_not_at_all(play: Any) -> None:
    """Slippage of 1.5 bp and a fee of 0.055 %.

    106 * 1.00015 = 106.0159 -> bought at 106.02; 110 * 0.99985 = 109.9835 -> sold at 109.98. The size is by the
    trigger: 10,000 / 106 -> 94.33. Fees 94.33 * 106.02 * 0.00055 = 5.50047663, 94.33 * 109.98 * 0.00055 = 5.70592737.
    94.33 * 3.96 = 373.5468; 10,373.5468 - 11.206404 = 10,362.340396.
    """
    report = play(Day({600: RISE, 601: (110, 110, 110, 110)}), costs={"taker_fee": "0.00055", "slippage_bps": "1.5"})
    assert fills_of(report) == [
        ("trade", "buy", "94.33", "106.02", "5.50047663"),
        ("trade", "sell", "94.33", "109.98", "5.70592737"),
    ]
    assert report["days"][-1]["equity"] == "10362.340396"


def test_a_stop_is_sold_at_the_price_that_crossed_it_and_the_day_is_over(play: Any) -> None:
    """The stop of 2 % below 106 lies at 103.88. 106, 106, 103, 103 crosses it at 103; 106 comes again and is no entry.

    94.33 * (103 - 106) = -282.99, fees 9.99898 and 94.33 * 103 * 0.001 = 9.71599: 9,697.29503.
    """
    report = play(Day({600: RISE, 700: (106, 106, 103, 103), 800: RISE}), strategy={"stop_loss": 0.02})
    assert [order["leg"] for order in report["orders"]] == ["entry", "stop"]
    assert fills_of(report)[1] == ("trade", "sell", "94.33", "103", "9.71599")
    assert times_of(report) == [at(600, 30), at(700, 30)]
    assert report["days"][-1]["equity"] == "9697.29503"


@pytest.mark.parametrize(("equity", "reasons"), [("5.29", ["below_min_notional"]), ("5.3", [])])
def test_an_entry_below_the_least_value_is_refused_not_rounded_up(play: Any, equity: str, reasons: list[str]) -> None:
    """5.29 / 106 = 0.0499.. -> 0.04, worth 4.24 and below 5; 5.3 / 106 = 0.05, worth 5.3."""
    report = play(Day({600: RISE}), portfolio={"initial_equity": equity})
    assert [refusal["reason"] for refusal in report["refused"]] == reasons
    assert bool(report["fills"]) is not bool(reasons)


def test_slippage_by_the_minute_s_range_is_paid_where_the_minute_moved(play: Any) -> None:
    """A tenth of the range: the minute up to the purchase holds 100 and 106, that up to the sale only 110.

    Bought at 106 + 0.6 = 106.6, sold at 110: 94.33 * 3.4 = 320.722, fees 94.33 * 106.6 * 0.001 = 10.055578 and 10.3763.
    """
    report = play(Day({600: RISE, 601: (110, 110, 110, 110)}), costs={"slippage_range_share": "0.1"})
    assert [fill[3] for fill in fills_of(report)] == ["106.6", "110"]
    assert report["days"][-1]["equity"] == "10300.290122"


def test_a_recorded_book_gives_the_half_spread_where_it_is_recent(play: Any, tmp_path: Path) -> None:
    """Bid 199.8, ask 200.2: half of the spread is 0.001 of the mid price. 106 * 1.001 = 106.106 -> 106.11.

    At the sale the record is hours old: the constant of 10 bp counts, 110 * 0.999 = 109.89.
    """
    path = tmp_path / "AAAUSDT_bookticker.csv"
    path.write_text(f"event_ms,bid_price,ask_price\n{SECOND_MS + at(600, 30)},199.8,200.2\n")
    report = play(
        Day({600: RISE, 601: (110, 110, 110, 110)}),
        records=CostRecords(spreads=read_spreads(str(path))),
        costs={"slippage_bps": 10},
    )
    assert [fill[3] for fill in fills_of(report)] == ["106.11", "109.89"]
    assert report["counters"]["orders_priced_by_book"] == report["counters"]["orders_priced_without_book"] == 1
