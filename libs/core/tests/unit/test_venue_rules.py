"""The modelled exchange's formulas: prices of takers, funding stamps, margin and its first breach."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.events import Side
from breakwater_core.market import TradeBatch
from breakwater_core.price_history import PriceHistory
from breakwater_core.venue_rules import (
    FUNDING_INTERVAL_MS,
    Exposure,
    first_breach,
    funding_payment,
    funding_stamps,
    order_margin,
    position_initial_margin,
    price_limits,
    range_slippage,
    taker_fills,
    taker_price,
)

TICK = Decimal("0.1")
STEP = Decimal("0.001")
PRICES = st.decimals(min_value=Decimal(1), max_value=Decimal(100_000), places=4)
RATIOS = st.decimals(min_value=0, max_value=Decimal("0.1"), places=5)


def fills(side: Side, quantity: str, **changes: Decimal | None) -> list[tuple[Decimal, Decimal]]:
    values: dict[str, Decimal | None] = {
        "last": Decimal(100),
        "bound": Decimal(105) if side is Side.BUY else Decimal(95),
        "slippage_ratio": Decimal("0.001"),
        "tick": TICK,
        "step": STEP,
    }
    return list(taker_fills(side, Decimal(quantity), **values | changes))  # type: ignore[arg-type]  # of one test


@given(last=PRICES, ratio=RATIOS, side=st.sampled_from(Side))
def test_a_taker_never_pays_less_than_the_slippage_and_at_most_a_tick_more(
    last: Decimal, ratio: Decimal, side: Side
) -> None:
    price = taker_price(side, last, ratio, TICK)
    exact = last * (1 + side.sign * ratio)
    assert price % TICK == 0
    assert 0 <= (price - exact) * side.sign < TICK or price == TICK


@given(last=PRICES, ratio=RATIOS)
def test_the_price_band_lies_on_the_tick_and_inside_the_share(last: Decimal, ratio: Decimal) -> None:
    highest, lowest = price_limits(last, ratio, TICK)
    assert highest <= last * (1 + ratio)
    assert lowest >= min(last * (1 - ratio), TICK)
    assert highest % TICK == lowest % TICK == 0


def test_without_a_depth_the_first_level_takes_everything() -> None:
    assert fills(Side.BUY, "7") == [(Decimal("100.1"), Decimal(7))]
    assert fills(Side.SELL, "7") == [(Decimal("99.9"), Decimal(7))]


def test_nothing_fills_beyond_the_bound() -> None:
    assert fills(Side.BUY, "7", slippage_ratio=Decimal("0.06")) == []
    assert fills(Side.SELL, "7", slippage_ratio=Decimal("0.06")) == []


def test_a_depth_spreads_an_order_over_levels_until_the_bound() -> None:
    got = fills(Side.SELL, "1", depth_notional=Decimal(20), bound=Decimal("99.7"))
    assert got == [(Decimal(price), Decimal("0.200")) for price in ("99.9", "99.8", "99.7")]


def test_funding_is_due_after_the_first_and_through_the_last_instant() -> None:
    eight = FUNDING_INTERVAL_MS
    assert list(funding_stamps(0, eight - 1)) == []
    assert list(funding_stamps(0, eight)) == [eight]
    assert list(funding_stamps(eight, 3 * eight)) == [2 * eight, 3 * eight]
    assert funding_payment(Decimal(-2), Decimal(100), Decimal("0.01")) == -2


def test_margins_count_the_fee_of_closing_but_no_rebate() -> None:
    assert position_initial_margin(Decimal(1000), Decimal(10), Decimal("0.001")) == 101
    assert position_initial_margin(Decimal(1000), Decimal(10), Decimal("-0.001")) == 100
    assert order_margin(Decimal(10), Decimal(100), Decimal(10), Decimal("0.001")) == 102


def exposure(size: float, entry: float, prices: list[float]) -> Exposure:
    times = np.arange(1, len(prices) + 1, dtype=np.int64) * 1000
    return Exposure(size=size, cost=size * entry, first=entry, times=times, prices=np.array(prices))


@pytest.mark.parametrize(("size", "prices"), [(10.0, [100.0, 95.0, 89.0, 80.0]), (-10.0, [99.0, 101.0, 111.0, 120.0])])
def test_the_first_trade_at_which_equity_is_gone_is_the_breach(size: float, prices: list[float]) -> None:
    assert first_breach(Decimal(100), [exposure(size, 100.0, prices)], rate=Decimal(0), through_ms=9_000) == 3_000
    assert first_breach(Decimal(300), [exposure(size, 100.0, prices)], rate=Decimal(0), through_ms=9_000) is None


def test_positions_carry_each_other() -> None:
    losing, winning = exposure(10.0, 100.0, [89.0]), exposure(-10.0, 100.0, [80.0])
    assert first_breach(Decimal(100), [losing], rate=Decimal(0), through_ms=9_000) == 1_000
    assert first_breach(Decimal(100), [losing, winning], rate=Decimal(0), through_ms=9_000) is None


def test_a_short_margin_without_any_trade_is_found_at_the_stretch_s_end() -> None:
    assert first_breach(Decimal(-1), [exposure(1.0, 100.0, [])], rate=Decimal(0), through_ms=9_000) == 9_000


@given(
    side=st.sampled_from(Side),
    leverage=st.floats(1.2, 50),
    rate=st.sampled_from([0.004, 0.005, 0.02]),
    size=st.floats(1, 9),
)
def test_an_account_of_one_position_is_closed_where_bybit_s_formula_says(
    side: Side, leverage: float, rate: float, size: float
) -> None:
    """Bybit's for the lowest tier: entry * (1 - sign / leverage + sign * rate), the margin at the entry's value.

    Ours takes the margin at the value of the moment, as its unified account does: (entry - sign * wallet / size) / (1 -
    sign * rate). With a wallet of the initial margin the two lie apart by rate / leverage and the rate's square.
    """
    sign, entry = side.sign, 1000.0
    wallet = size * entry / leverage
    exact = entry * (1 - sign / leverage) / (1 - sign * rate)
    stated = entry * (1 - sign / leverage + sign * rate)
    assert abs(exact - stated) <= entry * (rate / leverage + 2 * rate * rate)
    for price, breach_ms in ((exact * (1 + sign * 1e-6), None), (exact * (1 - sign * 1e-6), 1000)):
        positions = [exposure(sign * size, entry, [price])]
        found = first_breach(Decimal(repr(wallet)), positions, rate=Decimal(repr(rate)), through_ms=9_000)
        assert found == breach_ms


TRADES = st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 50)), max_size=40).map(sorted)


def history_of(trades: list[tuple[int, int]]) -> PriceHistory:
    history = PriceHistory("AAAUSDT", retention_ms=10**9)
    for time_ms, price in trades:
        times = np.array([time_ms], dtype=np.int64)
        history.append(TradeBatch("AAAUSDT", times, np.array([price / 10]), np.ones(1), np.ones(1, dtype=np.int8)))
    return history


@given(trades=TRADES, at_ms=st.integers(0, 220_000), share=st.sampled_from(["0", "0.25", "2"]))
def test_slippage_by_range_is_the_share_of_what_prices_the_last_minute_had(
    trades: list[tuple[int, int]], at_ms: int, share: str
) -> None:
    before = [price for time_ms, price in trades if time_ms <= at_ms - 60_000][-1:]
    seen = before + [price for time_ms, price in trades if at_ms - 60_000 < time_ms <= at_ms]
    expected = Decimal(max(seen) - min(seen)) / 10 * Decimal(share) if seen else Decimal(0)
    assert range_slippage(history_of(trades), at_ms, Decimal(share)) == expected


@given(trades=TRADES, later=TRADES, at_ms=st.integers(0, 200_000))
def test_slippage_by_range_does_not_look_ahead(
    trades: list[tuple[int, int]], later: list[tuple[int, int]], at_ms: int
) -> None:
    known = [trade for trade in trades if trade[0] <= at_ms]
    future = known + [(at_ms + 1 + time_ms, price) for time_ms, price in later]
    share = Decimal("0.5")
    assert range_slippage(history_of(future), at_ms, share) == range_slippage(history_of(known), at_ms, share)


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "100.4"), (Side.SELL, "99.6")])
def test_a_distance_is_added_to_the_share_of_the_price(side: Side, price: str) -> None:
    assert fills(side, "7", slippage_distance=Decimal("0.25")) == [(Decimal(price), Decimal(7))]
