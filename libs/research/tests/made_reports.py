"""Reports made by hand for tests: rows with sensible values, of which a test changes what it is about."""

from typing import Any

from breakwater_core.config import BreakwaterConfig
from breakwater_core.report import build_report

RUN = "replay-1"
HOSTILE = "<script>document.title='taken'</script>\"'&<img src=x onerror=alert(1)>"


def made_order(
    number: int, symbol: str = "BTCUSDT", side: str = "buy", leg: str = "entry", **changes: Any
) -> dict[str, Any]:
    values = {
        "order_link_id": f"bw-{number}",
        "intent_id": f"{RUN}/main/v1/{symbol}/2023-07-04/{leg}/{number}",
        "account": "main",
        "symbol": symbol,
        "side": side,
        "leg": leg,
        "reduce_only": leg != "entry",
        "qty": "1",
        "status": "filled",
        "target_price": "100",
        "trigger_price": "100",
        "trigger_time_ms": 1_688_464_800_000 + number,
        "avg_price": "100.1",
        "slippage_bps": "10",
    }
    return values | changes


def made_fill(order: dict[str, Any], price: str, **changes: Any) -> dict[str, Any]:
    values = {
        "exec_id": f"x-{order['order_link_id']}",
        "order_link_id": order["order_link_id"],
        "symbol": order["symbol"],
        "side": order["side"],
        "qty": order["qty"],
        "price": price,
        "fee": "0.05",
        "exec_time_ms": order["trigger_time_ms"] + 50,
        "kind": "trade",
    }
    return values | changes


def made_day(day: str, account: str = "main", **changes: Any) -> dict[str, Any]:
    values = {
        "day": day,
        "account": account,
        "equity": "100000",
        "net_deposits": "0",
        "ror": "1",
        "cumulative": "1",
        "drawdown": "0",
        "mdd": "0",
    }
    return values | changes


def made_report(**changes: Any) -> dict[str, Any]:
    """Return the report of a run in which nothing happened, with the changes."""
    empty = build_report(
        run_id=RUN,
        config=BreakwaterConfig().as_values(),
        outcomes=[],
        fills=[],
        days=[],
        trades=12_345,
        wall_seconds=2.0,
    )
    return empty | changes


def made_run() -> dict[str, Any]:
    """Return a run of three days: a long that wins 10 - 0.1, a short that loses 5 + 0.1, a long still open."""
    bought, sold = made_order(1), made_order(2, side="sell", leg="exit", slippage_bps="-2")
    shorted = made_order(3, "ETHUSDT", "sell")
    covered = made_order(4, "ETHUSDT", "buy", "stop")
    kept = made_order(5, slippage_bps="6")
    unfilled = made_order(6, "SOLUSDT", avg_price=None, slippage_bps=None, status="cancelled")
    return made_report(
        orders=[bought, sold, shorted, covered, kept, unfilled],
        fills=[
            made_fill(bought, "100"),
            made_fill(sold, "110"),
            made_fill(shorted, "50"),
            made_fill(covered, "55"),
            made_fill(kept, "100"),
        ],
        refused=[{"intent_id": f"{RUN}/main/v1/ADAUSDT/2023-07-04/entry/1", "reason": "below_min_quantity"}],
        days=[
            made_day("2023-07-04", equity="101000", ror="1.01", cumulative="1.01"),
            made_day("2023-07-05", equity="95950", ror="0.95", cumulative="0.9595", drawdown="0.05", mdd="0.05"),
            made_day("2023-07-06", equity="100747.5", ror="1.05", cumulative="1.007475", drawdown="0.0025", mdd="0.05"),
        ],
    )


def made_hostile_run() -> dict[str, Any]:
    """Return a run of two accounts whose every free text tries to be markup."""
    report = made_run()
    report["run_id"] = HOSTILE
    report["config"] = {HOSTILE: {HOSTILE: [HOSTILE]}}
    report["refused"] = [{"intent_id": HOSTILE, "reason": HOSTILE}]
    for row in report["orders"][:2]:
        row.update(account=HOSTILE, symbol=HOSTILE, status=HOSTILE, order_link_id=f"{HOSTILE}{row['order_link_id']}")
    for row, order in zip(report["fills"][:2], report["orders"][:2], strict=True):
        row.update(symbol=HOSTILE, exec_id=HOSTILE, order_link_id=order["order_link_id"])
    report["days"] += [{**row, "account": HOSTILE} for row in report["days"]]
    return report
