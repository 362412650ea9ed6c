"""The simulated account: fills after the latency, fees, funding stamps, refusals, forced closing."""

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from made_recordings import DAY_MS, made_recording

from breakwater_core.config import CostSettings
from breakwater_core.errors import InvariantError
from breakwater_core.events import FillKind, Side
from breakwater_core.session import Session
from breakwater_core.venue_rules import FUNDING_INTERVAL_MS
from breakwater_research.simulated_account import EndedOrder, MarketOrder, Rejection, SimulatedAccount
from breakwater_research.simulated_market import SimulatedMarket

DAY = date(2024, 3, 1)
START_MS = Session().day_start_ms(DAY)
COSTS = CostSettings(taker_fee=Decimal("0.001"), slippage_bps=Decimal(0), latency_ms=50)
HOUR_MS = 3_600_000

Open = Callable[..., SimulatedAccount]


@pytest.fixture
def open_account(tmp_path: Path) -> Open:
    """Open an account of 10,000 on a day of AAAUSDT with trades at these offsets and prices."""

    def make(
        trades: Sequence[tuple[int, float]], *, costs: CostSettings = COSTS, deposit: str = "10000"
    ) -> SimulatedAccount:
        recording = made_recording(tmp_path, {DAY: {"AAAUSDT": trades}})
        market = SimulatedMarket(recording, start_ms=START_MS, end_ms=START_MS + DAY_MS)
        return SimulatedAccount("main", run_id="run", deposit=Decimal(deposit), market=market, costs=costs)

    return make


def order(side: Side, quantity: str, link_id: str = "first", *, reduce_only: bool = False) -> MarketOrder:
    return MarketOrder("AAAUSDT", side, Decimal(quantity), link_id, reduce_only)


def test_an_order_fills_at_the_last_trade_when_its_latency_is_over(open_account: Open) -> None:
    account = open_account([(0, 100.0), (1_050, 101.0), (1_051, 102.0)])
    ended = account.send(order(Side.BUY, "2"), START_MS + 1_000)
    assert ended == EndedOrder(
        is_filled=True, filled_quantity=Decimal(2), average_price=Decimal("101.0"), updated_ms=START_MS + 1_050
    )
    assert [(fill.price, fill.fee, fill.exec_time_ms) for fill in account.fills] == [
        (Decimal(101), Decimal("0.202"), START_MS + 1_050)
    ]
    assert account.equity(START_MS + 1_051) == Decimal(10000) - Decimal("0.202") + 2


def test_an_order_looks_across_windows_for_its_price(open_account: Open) -> None:
    account = open_account([(0, 100.0), (12 * HOUR_MS, 105.0), (12 * HOUR_MS + 51, 110.0)])
    ended = account.send(order(Side.BUY, "1"), START_MS + 12 * HOUR_MS - 20)
    assert isinstance(ended, EndedOrder)
    assert ended.average_price == 105


def test_a_reducing_order_takes_no_more_than_is_held(open_account: Open) -> None:
    account = open_account([(0, 100.0)])
    account.send(order(Side.SELL, "2"), START_MS)
    ended = account.send(order(Side.BUY, "5", "second", reduce_only=True), START_MS + 1_000)
    assert ended == EndedOrder(
        is_filled=True, filled_quantity=Decimal(2), average_price=Decimal(100), updated_ms=START_MS + 1_050
    )
    nothing = account.send(order(Side.BUY, "5", "third", reduce_only=True), START_MS + 2_000)
    assert nothing == EndedOrder(
        is_filled=False, filled_quantity=Decimal(0), average_price=None, updated_ms=START_MS + 2_050
    )
    assert account.position_size("AAAUSDT", START_MS + 3_000) == 0
    assert account.equity(START_MS + 3_000) == Decimal(10000) - Decimal("0.4")


@pytest.mark.parametrize(("sent_before_ms", "pays"), [(51, True), (50, False)])
def test_a_fill_at_the_funding_stamp_itself_pays_nothing(
    open_account: Open, sent_before_ms: int, *, pays: bool
) -> None:
    stamp_ms = START_MS + FUNDING_INTERVAL_MS
    costs = COSTS.model_copy(update={"funding_rate": Decimal("0.01")})
    account = open_account([(0, 100.0), (FUNDING_INTERVAL_MS, 104.0)], costs=costs)
    account.send(order(Side.BUY, "1"), stamp_ms - sent_before_ms)
    account.advance(stamp_ms + HOUR_MS)
    funding = [fill for fill in account.fills if fill.kind is FillKind.FUNDING]
    assert [(fill.fee, fill.exec_time_ms) for fill in funding] == ([(Decimal("1.04"), stamp_ms)] if pays else [])


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_funding_does_not_depend_on_the_steps_in_which_time_passes(open_account: Open, steps: int) -> None:
    costs = COSTS.model_copy(update={"funding_rate": Decimal("-0.001")})
    account = open_account([(0, 100.0), (20 * HOUR_MS, 120.0)], costs=costs)
    account.send(order(Side.SELL, "3"), START_MS)
    for step in range(1, steps + 1):
        account.advance(START_MS + 23 * HOUR_MS * step // steps)
    assert [fill.fee for fill in account.fills if fill.kind is FillKind.FUNDING] == [Decimal("0.3"), Decimal("0.3")]


def test_an_order_that_the_margin_cannot_carry_is_refused_and_leaves_nothing(open_account: Open) -> None:
    account = open_account([(0, 100.0)])
    assert account.send(order(Side.BUY, "990"), START_MS) is Rejection.INSUFFICIENT_MARGIN
    assert account.fills == []
    assert isinstance(account.send(order(Side.BUY, "970"), START_MS), EndedOrder)


def test_an_order_below_the_smallest_value_is_refused(open_account: Open) -> None:
    assert open_account([(0, 4.0)]).send(order(Side.BUY, "1"), START_MS) is Rejection.BELOW_MIN_NOTIONAL


def test_before_the_first_trade_nothing_can_be_traded(open_account: Open) -> None:
    assert open_account([(5_000, 100.0)]).send(order(Side.BUY, "1"), START_MS + 1_000) is Rejection.NOT_TRADABLE


def test_positions_are_closed_by_force_at_the_trade_that_takes_the_margin(open_account: Open) -> None:
    account = open_account([(0, 100.0), (1_000, 95.0), (2_000, 89.0), (3_000, 120.0)])
    account.send(order(Side.BUY, "950"), START_MS)
    account.advance(START_MS + HOUR_MS)
    last = account.fills[-1]
    assert (last.kind, last.price, last.exec_time_ms) == (FillKind.LIQUIDATION, 89, START_MS + 2_000)
    assert (last.side, last.quantity, last.order_link_id) == (Side.SELL, 950, "")
    assert account.open_symbols(START_MS + 2 * HOUR_MS) == frozenset()


def test_an_order_that_no_price_ever_fills_ends_in_an_error_not_in_a_loop(open_account: Open) -> None:
    account = open_account([(0, 100.0)])
    with pytest.raises(InvariantError, match="a day after the last trade"):
        account.send(order(Side.BUY, "1"), START_MS + 2 * DAY_MS)
