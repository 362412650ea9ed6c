"""Gauges of accounts: flat means zero, and slippage has a sum although it may be negative."""

from datetime import date
from decimal import Decimal

from prometheus_client import REGISTRY

from breakwater_core.events import AccountSnapshot, Alert, Leg, Position, Severity, SnapshotKind
from reporter_service import metrics


def shown(name: str, /, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"breakwater_{name}", labels)


def snapshot(account: str, *positions: Position) -> AccountSnapshot:
    return AccountSnapshot(
        run_id="live",
        account=account,
        kind=SnapshotKind.PERIODIC,
        day=date(2024, 1, 1),
        equity=Decimal(1000),
        wallet_balance=Decimal(900),
        net_deposits=Decimal(0),
        positions=positions,
        fills_total=0,
        event_time_ms=0,
    )


def test_a_position_that_is_closed_is_shown_at_zero_also_of_a_symbol_that_is_not_configured() -> None:
    gauges = metrics.AccountGauges(["gauged"], ["BTCUSDT"])
    assert shown("position_size", account="gauged", symbol="BTCUSDT") == 0
    held = [
        Position("BTCUSDT", Decimal("-0.5"), Decimal(100), Decimal(110), Decimal(-5)),
        Position("FOREIGN", Decimal(2), Decimal(3), Decimal(4), Decimal(2)),
    ]
    gauges.show(snapshot("gauged", *held))
    assert shown("position_value", account="gauged", symbol="BTCUSDT") == -55
    assert shown("unrealised_pnl", account="gauged", symbol="FOREIGN") == 2
    gauges.show(snapshot("gauged"))
    assert shown("position_value", account="gauged", symbol="BTCUSDT") == 0
    assert shown("position_size", account="gauged", symbol="FOREIGN") == 0
    assert shown("equity", account="gauged") == 1000


def test_slippage_adds_up_in_both_directions() -> None:
    for value in ("3", "-1.5", "2"):
        metrics.observe_slippage("slipped", Leg.ENTRY, Decimal(value))
    of = {"account": "slipped", "leg": "entry"}
    assert shown("slippage_bps_total", **of, direction="worse") == 5
    assert shown("slippage_bps_total", **of, direction="better") == 1.5
    assert shown("target_slippage_bps_count", **of) == 3


def test_alerts_are_counted_by_name_and_unknown_names_as_other() -> None:
    for name in ("data_gap", "something_new", "something_else"):
        metrics.count_alert(Alert(name, "live", Severity.WARNING, "signal", name, "", 0))
    assert shown("alerts_total", name="other", severity="warning") == 2
    assert shown("alerts_total", name="something_new", severity="warning") is None
    assert (shown("alerts_total", name="data_gap", severity="warning") or 0) >= 1
