"""The books of each account, kept from the fills in the database and compared with the exchange's wallet.

A snapshot says how many executions the exchange's wallet contains; in the order of time and id, those are the first
ones. So the ledger is carried forward by the fills between two snapshots, and made anew if an earlier one turns up.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session

from breakwater_core.decimals import MONEY
from breakwater_core.events import AccountSnapshot, Fill, FillKind, Side, SnapshotKind
from breakwater_core.ledger import Ledger
from reporter_service import conversions
from reporter_service.tables import FillRow, SnapshotRow


@dataclass(frozen=True, slots=True)
class WalletComparison:
    """The exchange's wallet and ours, quote currency."""

    exchange: Decimal
    ledger: Decimal

    @property
    def difference(self) -> Decimal:
        """Exchange - ledger."""
        return MONEY.subtract(self.exchange, self.ledger)


@dataclass(slots=True)
class _Books:
    """A ledger that begins at the account's first snapshot, with the fills and deposits booked since."""

    first: AccountSnapshot
    ledger: Ledger
    through: date
    position: int
    """Executions before and in the ledger."""
    last_key: tuple[int, str] | None = None
    """Time and id of the last of them."""


class AccountBooks:
    """The ledgers of a run, account by account."""

    def __init__(self, run_id: str) -> None:
        """Keep the books of this run."""
        self._run_id = run_id
        self._books: dict[str, _Books] = {}

    def missing_fills(self, session: Session, snapshot: AccountSnapshot) -> int:
        """Return how many executions that the snapshot counts have not arrived in the database."""
        arrived = session.scalar(
            select(func.count()).where(
                FillRow.run_id == self._run_id,
                FillRow.account == snapshot.account,
                FillRow.exec_time_ms <= snapshot.event_time_ms,
            )
        )
        return max(0, snapshot.fills_total - int(arrived or 0))

    def compare(self, session: Session, snapshot: AccountSnapshot) -> WalletComparison | None:
        """Return the exchange's wallet at a day's opening beside the ledger's; None at the account's first one."""
        openings = session.scalars(
            select(SnapshotRow)
            .where(
                SnapshotRow.run_id == self._run_id,
                SnapshotRow.account == snapshot.account,
                SnapshotRow.kind == SnapshotKind.DAY_OPEN.value,
            )
            .order_by(SnapshotRow.day)
            .limit(1)
        ).one_or_none()
        if openings is None or openings.day >= snapshot.day:
            return None
        books = self._carried(session, conversions.snapshot_of(openings), snapshot)
        self._book_deposits(session, books, snapshot)
        self._book_fills(session, books, snapshot)
        return WalletComparison(exchange=snapshot.wallet_balance, ledger=books.ledger.wallet_balance)

    def _carried(self, session: Session, first: AccountSnapshot, snapshot: AccountSnapshot) -> _Books:
        """Return the account's books if they can be carried on to the snapshot, else new ones."""
        books = self._books.get(snapshot.account)
        if (
            books is None
            or books.first != first
            or books.through > snapshot.day
            or books.position > snapshot.fills_total
            or self._count_through(session, snapshot.account, books.last_key) != books.position
        ):
            books = self._books[snapshot.account] = self._opened(session, first)
        return books

    def _opened(self, session: Session, first: AccountSnapshot) -> _Books:
        ledger = Ledger(run_id=self._run_id, account=first.account, initial_balance=first.wallet_balance)
        for position in first.positions:
            ledger.apply(_opening_fill(first, position.symbol, position.size, position.average_price))
        last = None
        if first.fills_total:
            last = session.scalars(
                ordered_fills(self._run_id, first.account).offset(first.fills_total - 1).limit(1)
            ).one_or_none()
        key = None if last is None else (last.exec_time_ms, last.exec_id)
        return _Books(first, ledger, first.day, first.fills_total, key)

    def _count_through(self, session: Session, account: str, key: tuple[int, str] | None) -> int:
        if key is None:
            return 0
        return int(
            session.scalar(
                select(func.count()).where(
                    FillRow.run_id == self._run_id,
                    FillRow.account == account,
                    tuple_(FillRow.exec_time_ms, FillRow.exec_id) <= key,
                )
            )
            or 0
        )

    def _book_deposits(self, session: Session, books: _Books, snapshot: AccountSnapshot) -> None:
        rows = session.scalars(
            select(SnapshotRow).where(
                SnapshotRow.run_id == self._run_id,
                SnapshotRow.account == snapshot.account,
                SnapshotRow.kind == SnapshotKind.DAY_OPEN.value,
                SnapshotRow.day > books.through,
                SnapshotRow.day <= snapshot.day,
            )
        )
        for row in rows:
            books.ledger.apply_transfer(row.day.isoformat(), row.net_deposits)
        books.through = snapshot.day

    def _book_fills(self, session: Session, books: _Books, snapshot: AccountSnapshot) -> None:
        fills = ordered_fills(self._run_id, snapshot.account)
        if books.last_key is not None:
            fills = fills.where(tuple_(FillRow.exec_time_ms, FillRow.exec_id) > books.last_key)
        rows = session.scalars(fills.limit(max(0, snapshot.fills_total - books.position)))
        for row in rows:
            books.ledger.apply(conversions.fill_of(row))
            books.position += 1
            books.last_key = (row.exec_time_ms, row.exec_id)


def ordered_fills(run_id: str, account: str) -> Select[FillRow]:
    """Return the query of an account's executions in the order in which they count."""
    return (
        select(FillRow)
        .where(FillRow.run_id == run_id, FillRow.account == account)
        .order_by(FillRow.exec_time_ms, FillRow.exec_id)
    )


def _opening_fill(first: AccountSnapshot, symbol: str, size: Decimal, average_price: Decimal) -> Fill:
    """Return the purchase or sale, free of charge, that brings the ledger a position which was open before the run."""
    return Fill(
        exec_id=f"opening/{symbol}",
        run_id=first.run_id,
        account=first.account,
        symbol=symbol,
        order_id="",
        order_link_id="",
        side=Side.BUY if size > 0 else Side.SELL,
        quantity=abs(size),
        price=average_price,
        fee=Decimal(0),
        fee_rate=Decimal(0),
        is_maker=False,
        kind=FillKind.OTHER,
        exec_time_ms=first.event_time_ms,
    )
