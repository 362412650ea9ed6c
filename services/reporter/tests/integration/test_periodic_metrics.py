"""What the database knows of payments and openings, as metrics."""

from datetime import date
from decimal import Decimal

from prometheus_client import REGISTRY

from breakwater_runtime.bus import BusError
from reporter_service.bus_watch import BusWatch
from reporter_service.database import Database
from reporter_service.periodic_metrics import PeriodicMetrics
from reporter_service.tables import PositionRow, SnapshotRow

RUN = "test-run"


class _NoBus:
    async def api(self, subject: str, body: object = None) -> dict[str, object]:
        raise BusError("away")


def _position(run_id: str, symbol: str, fees: str, funding: str) -> PositionRow:
    zero = Decimal(0)
    return PositionRow(
        run_id=run_id,
        account="paying",
        symbol=symbol,
        size=zero,
        bought_quantity=zero,
        sold_quantity=zero,
        cash_flow=zero,
        fees=Decimal(fees),
        funding=Decimal(funding),
        fills=1,
        last_exec_time_ms=0,
    )


def _opening(day: int, equity: str, kind: str = "day_open") -> SnapshotRow:
    return SnapshotRow(
        run_id=RUN,
        account="paying",
        kind=kind,
        day=date(2024, 1, day),
        equity=Decimal(equity),
        wallet_balance=Decimal(equity),
        net_deposits=Decimal(0),
        positions=[],
        fills_total=0,
        event_time_ms=day,
    )


async def test_payments_of_the_run_and_the_newest_opening_are_shown(database: Database) -> None:
    with database.writing() as session:
        session.add_all([_position(RUN, "BTCUSDT", "1.25", "-0.5"), _position(RUN, "ETHUSDT", "2.5", "0.1")])
        session.add(_position("another-run", "BTCUSDT", "1000", "1000"))
        session.add_all([_opening(2, "110"), _opening(1, "100"), _opening(3, "999", kind="periodic")])
    await PeriodicMetrics(database, BusWatch(_NoBus(), RUN), RUN).turn()

    def shown(name: str) -> float | None:
        return REGISTRY.get_sample_value(f"breakwater_{name}", {"account": "paying"})

    assert shown("fees_paid") == 3.75
    assert shown("funding_paid") == -0.4
    assert shown("day_open_equity") == 110


async def test_a_database_that_is_away_leaves_the_last_values_standing(database: Database) -> None:
    with database.writing() as session:
        session.add(_position(RUN, "BTCUSDT", "7", "0"))
    periodic = PeriodicMetrics(database, BusWatch(_NoBus(), RUN), RUN)
    await periodic.turn()
    away = PeriodicMetrics(Database("postgresql://nobody@127.0.0.1:1/none"), BusWatch(_NoBus(), RUN), RUN)
    await away.turn()
    assert REGISTRY.get_sample_value("breakwater_fees_paid", {"account": "paying"}) == 7
