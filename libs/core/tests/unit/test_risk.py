from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.config import RiskSettings
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Intent, Leg, Side
from breakwater_core.risk import RULES, Approved, Refused, RiskState, check_entry, running_drawdown

NOW = 1_700_000_000_000
ENTRY = Intent(
    intent_id="live/main/abc/BTCUSDT/2023-11-14/entry/1",
    run_id="live",
    account="main",
    strategy_version="abc",
    symbol="BTCUSDT",
    day=date(2023, 11, 14),
    leg=Leg.ENTRY,
    attempt=1,
    side=Side.BUY,
    target_price=Decimal(100),
    trigger_price=Decimal(100),
    trigger_time_ms=NOW - 100,
    valid_until_ms=NOW + 1,
    gross_leverage=Decimal(2),
    portfolio_size=10,
    epoch=3,
)
CALM = RiskState(
    halted=False,
    current_epoch=3,
    open_positions=2,
    equity=Decimal(1000),
    day_open_equity=Decimal(1000),
    net_deposits_today=Decimal(0),
    drawdown=Decimal(0),
    last_market_data_ms=NOW - 10_000,
    now_ms=NOW,
)
STRICT = RiskSettings(
    max_order_notional=Decimal(500), max_open_positions=3, daily_loss_stop=Decimal("0.05"), drawdown_stop=Decimal("0.2")
)


def test_entry_within_all_limits_is_approved() -> None:
    assert check_entry(ENTRY, Decimal(500), CALM, STRICT) == Approved()


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("halted", {"halted": True}),
        ("fenced", {"current_epoch": 4}),
        ("expired", {"now_ms": NOW + 1, "last_market_data_ms": NOW}),
        ("stale_data", {"last_market_data_ms": NOW - 10_001}),
        ("stale_data", {"last_market_data_ms": None}),
        ("max_open_positions", {"open_positions": 3}),
        ("daily_loss_stop", {"equity": Decimal(950)}),
        ("daily_loss_stop", {"equity": Decimal(1050), "net_deposits_today": Decimal(100)}),
        ("daily_loss_stop", {"day_open_equity": Decimal(0), "equity": Decimal(0)}),
        ("drawdown_stop", {"drawdown": Decimal("0.2")}),
    ],
)
def test_each_rule_refuses_by_name(rule: str, change: dict[str, Any]) -> None:
    refused = check_entry(ENTRY, Decimal(500), replace(CALM, **change), STRICT)
    assert isinstance(refused, Refused)
    assert refused.rule == rule
    assert rule in RULES


def test_order_above_the_largest_notional_is_refused() -> None:
    refused = check_entry(ENTRY, Decimal("500.01"), CALM, STRICT)
    assert isinstance(refused, Refused)
    assert (refused.rule, refused.detail) == ("max_order_notional", "an order of 500.01 exceeds 500")


@pytest.mark.parametrize("change", [{"equity": Decimal("950.01")}, {"drawdown": Decimal("0.1999")}])
def test_losses_just_below_their_stop_pass(change: dict[str, Any]) -> None:
    assert check_entry(ENTRY, Decimal(500), replace(CALM, **change), STRICT) == Approved()


def test_limits_that_are_not_set_do_not_bind() -> None:
    worst = replace(CALM, open_positions=99, equity=Decimal(-5), drawdown=Decimal(1))
    assert check_entry(ENTRY, Decimal(10**9), worst, RiskSettings()) == Approved()


@given(
    leg=st.sampled_from([leg for leg in Leg if leg.reduces]),
    halted=st.booleans(),
    epoch=st.integers(0, 10),
    positions=st.integers(0, 100),
    money=st.tuples(*[st.decimals(-1000, 1000, places=2)] * 4),
    data_ms=st.none() | st.integers(0, NOW),
    valid_until_ms=st.none() | st.integers(0, NOW),
)
def test_nothing_can_refuse_what_reduces_a_position(
    leg: Leg,
    halted: bool,
    epoch: int,
    positions: int,
    money: tuple[Decimal, ...],
    data_ms: int | None,
    valid_until_ms: int | None,
) -> None:
    state = RiskState(halted, epoch, positions, *money, data_ms, NOW)
    intent = replace(ENTRY, leg=leg, valid_until_ms=valid_until_ms)
    assert check_entry(intent, Decimal(10**9), state, STRICT) == Approved()


def test_running_drawdown_leaves_deposits_out() -> None:
    drawdown = running_drawdown(
        equity=Decimal(1900),
        day_open_equity=Decimal(1000),
        net_deposits_today=Decimal(1000),
        cumulative=Decimal("1.2"),
        peak=Decimal("1.5"),
    )
    assert drawdown == Decimal("0.28")  # 1 - 1.2 * 0.9 / 1.5


def test_running_drawdown_is_zero_at_a_new_peak_and_one_when_all_is_lost() -> None:
    usual = {"day_open_equity": Decimal(1000), "net_deposits_today": Decimal(0), "cumulative": Decimal(1)}
    assert running_drawdown(equity=Decimal(1100), peak=Decimal(1), **usual) == 0
    assert running_drawdown(equity=Decimal(-100), peak=Decimal(1), **usual) == 1
    with pytest.raises(InvalidInputError, match="above 0"):
        running_drawdown(equity=Decimal(1), peak=Decimal(1), **usual | {"day_open_equity": Decimal(0)})
