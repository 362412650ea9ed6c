"""Messages on the wire: domain types to protobuf and back. Nothing else touches generated classes.

Trade columns travel as packed repeated fields, which have the same wire form as a `bytes` field of the same number.
So the codec reads and writes them through a twin of the message whose columns are `bytes`: straight from and into
NumPy, some forty times faster than through Python lists.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from breakwater_contracts.account.v1 import account_pb2
from breakwater_contracts.intent.v1 import intent_pb2
from breakwater_contracts.market.v1 import market_pb2
from breakwater_contracts.order.v1 import order_pb2
from breakwater_core import decimals
from breakwater_core.errors import InvalidInputError, PermanentError
from breakwater_core.events import (
    AccountSnapshot,
    Alert,
    DailyPerformance,
    DayDifference,
    DayParity,
    Fill,
    FillKind,
    Intent,
    Leg,
    OrderEvent,
    OrderStatus,
    Position,
    Severity,
    Side,
    SnapshotKind,
)
from breakwater_core.identities import partition_of
from breakwater_core.market import BarState, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime import subjects
from breakwater_runtime.redaction import blank

if TYPE_CHECKING:
    import numpy as np

Event = (
    TradeBatch | DailyBar | Clock | Intent | OrderEvent | Fill | AccountSnapshot | DailyPerformance | DayParity | Alert
)


class DecodeError(PermanentError):
    """A message is not what its subject promises."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message ready to publish; an empty id means that repeats do no harm."""

    subject: str
    message_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Decoded[T]:
    """A message of the bus with the run that it belongs to."""

    run_id: str
    value: T


def _column_twin() -> type[Any]:
    """Build the message class whose columns are the raw bytes of TradeBatch's packed fields."""
    original = descriptor_pb2.FileDescriptorProto()
    market_pb2.DESCRIPTOR.CopyToProto(original)
    twin = descriptor_pb2.FileDescriptorProto(
        name="breakwater_runtime/columns.proto", package="columns", syntax="proto3"
    )
    batch = next(kind for kind in original.message_type if kind.name == "TradeBatch")
    for field in batch.field:
        if field.label == field.LABEL_REPEATED:
            field.label, field.type = field.LABEL_OPTIONAL, field.TYPE_BYTES
    twin.message_type.add().CopyFrom(batch)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(twin)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("columns.TradeBatch"))


_TradeColumns = _column_twin()
_JSON = b"{"
"""Any client can have the server answer it on any subject, so its answers must never be taken for events. As the first
byte of a message it would begin a group of field 15, which no event has."""
_LITTLE_ENDIAN = sys.byteorder == "little"


def _to_bytes(column: "np.ndarray[Any, Any]", kind: str) -> bytes:
    import numpy as np  # here, so that services that see no trades do without its memory

    return np.ascontiguousarray(column, dtype=kind).tobytes()


def _from_bytes(data: bytes, kind: str) -> Any:
    import numpy as np

    column = np.frombuffer(data, dtype=kind)
    return column if _LITTLE_ENDIAN else column.astype(kind[1:])


@singledispatch
def encode(event: Any, run_id: str) -> Encoded:
    """Return the message that carries an event of the run.

    Raises:
        TypeError: If the event is none of the bus.
    """
    raise TypeError(f"no message carries {type(event).__name__}")


@encode.register
def _(event: TradeBatch, run_id: str) -> Encoded:
    first = int(event.times_ms[0]) if len(event) else 0
    payload = _TradeColumns(
        run_id=run_id,
        venue=subjects.VENUE,
        symbol=event.symbol,
        time_ms=_to_bytes(event.times_ms, "<i8"),
        price=_to_bytes(event.prices, "<f8"),
        size=_to_bytes(event.sizes, "<f8"),
        taker_side=_to_bytes(event.taker_sides, "<i1"),
        window=event.window,
    ).SerializeToString()
    identity = f"{run_id}/trades/{event.symbol}/{event.window}/{first}" if event.window else ""
    return Encoded(subjects.trades(event.symbol), identity, payload)


@encode.register
def _(event: DailyBar, run_id: str) -> Encoded:
    payload = market_pb2.DailyBar(
        run_id=run_id,
        venue=subjects.VENUE,
        symbol=event.symbol,
        day=event.day.isoformat(),
        state=_number(market_pb2.DailyBar.State, event.state),
        open=event.open,
        high=event.high,
        low=event.low,
        close=event.close,
        volume=event.volume,
        complete=event.complete,
        window=event.window,
    ).SerializeToString()
    identity = f"{run_id}/bar/{event.symbol}/{event.day}/{event.state}" if event.window else ""
    return Encoded(subjects.daily_bars(event.symbol), identity, payload)


@encode.register
def _(event: Clock, run_id: str) -> Encoded:
    payload = market_pb2.Clock(
        run_id=run_id,
        venue=subjects.VENUE,
        kind=_number(market_pb2.Clock.Kind, event.kind),
        now_ms=event.now_ms,
        trades_through_ms=event.trades_through_ms,
        window=event.window,
        trades_total=event.trades_total,
        day=event.day.isoformat(),
    ).SerializeToString()
    identity = "" if run_id == "live" else f"{run_id}/clock/{event.kind}/{event.window}"
    return Encoded(subjects.clock(), identity, payload)


@encode.register
def _(event: Intent, run_id: str) -> Encoded:
    payload = intent_pb2.Intent(
        intent_id=event.intent_id,
        run_id=run_id,
        account=event.account,
        strategy_version=event.strategy_version,
        symbol=event.symbol,
        day=event.day.isoformat(),
        leg=_number(intent_pb2.Intent.Leg, event.leg),
        attempt=event.attempt,
        side=_number(intent_pb2.Intent.Side, event.side),
        target_price=decimals.to_text(event.target_price),
        trigger_price=decimals.to_text(event.trigger_price),
        trigger_time_ms=event.trigger_time_ms,
        valid_until_ms=event.valid_until_ms or 0,
        gross_leverage=decimals.to_text(event.gross_leverage),
        portfolio_size=event.portfolio_size,
        epoch=event.epoch,
    ).SerializeToString()
    partition = partition_of(event.account, event.symbol, subjects.INTENT_PARTITIONS)
    return Encoded(f"intent.{partition}.{event.account}.{event.symbol}", event.intent_id, payload)


@encode.register
def _(event: OrderEvent, run_id: str) -> Encoded:
    payload = order_pb2.OrderEvent(
        event_id=event.event_id,
        run_id=run_id,
        account=event.account,
        symbol=event.symbol,
        day=event.day.isoformat(),
        strategy_version=event.strategy_version,
        intent_id=event.intent_id,
        order_link_id=event.order_link_id,
        child=event.child,
        status=_number(order_pb2.OrderEvent.Status, event.status),
        leg=_number(intent_pb2.Intent.Leg, event.leg),
        side=_number(intent_pb2.Intent.Side, event.side),
        reduce_only=event.reduce_only,
        quantity=decimals.to_text(event.quantity),
        filled_quantity=decimals.to_text(event.filled_quantity),
        average_price="" if event.average_price is None else decimals.to_text(event.average_price),
        target_price=decimals.to_text(event.target_price),
        trigger_price=decimals.to_text(event.trigger_price),
        trigger_time_ms=event.trigger_time_ms,
        reason=event.reason,
        detail=blank(event.detail),
        intent_closed=event.intent_closed,
        event_time_ms=event.event_time_ms,
    ).SerializeToString()
    return Encoded(f"order.{event.account}.{event.symbol}", event.event_id, payload)


@encode.register
def _(event: Fill, run_id: str) -> Encoded:
    payload = order_pb2.Fill(
        exec_id=event.exec_id,
        run_id=run_id,
        account=event.account,
        symbol=event.symbol,
        order_id=event.order_id,
        order_link_id=event.order_link_id,
        side=_number(intent_pb2.Intent.Side, event.side),
        quantity=decimals.to_text(event.quantity),
        price=decimals.to_text(event.price),
        fee=decimals.to_text(event.fee),
        fee_rate=decimals.to_text(event.fee_rate),
        is_maker=event.is_maker,
        kind=_number(order_pb2.Fill.Kind, event.kind),
        exec_time_ms=event.exec_time_ms,
    ).SerializeToString()
    return Encoded(f"fill.{event.account}.{event.symbol}", f"{run_id}/fill/{event.exec_id}", payload)


@encode.register
def _(event: AccountSnapshot, run_id: str) -> Encoded:
    payload = account_pb2.AccountSnapshot(
        run_id=run_id,
        account=event.account,
        kind=_number(account_pb2.AccountSnapshot.Kind, event.kind),
        day=event.day.isoformat(),
        equity=decimals.to_text(event.equity),
        wallet_balance=decimals.to_text(event.wallet_balance),
        net_deposits=decimals.to_text(event.net_deposits),
        positions=[
            account_pb2.Position(
                symbol=position.symbol,
                size=decimals.to_text(position.size),
                average_price=decimals.to_text(position.average_price),
                mark_price=decimals.to_text(position.mark_price),
                unrealised_pnl=decimals.to_text(position.unrealised_pnl),
            )
            for position in event.positions
        ],
        fills_total=event.fills_total,
        event_time_ms=event.event_time_ms,
    ).SerializeToString()
    identity = f"{run_id}/account/{event.account}/{event.kind}/{event.day}/{event.event_time_ms}"
    return Encoded(f"account.{event.account}", identity, payload)


@encode.register
def _(event: DailyPerformance, run_id: str) -> Encoded:
    payload = account_pb2.DailyPerformance(
        run_id=run_id,
        account=event.account,
        day=event.day.isoformat(),
        equity=decimals.to_text(event.equity),
        net_deposits=decimals.to_text(event.net_deposits),
        ror=decimals.to_text(event.ror),
        cumulative=decimals.to_text(event.cumulative),
        drawdown=decimals.to_text(event.drawdown),
        mdd=decimals.to_text(event.mdd),
        orders=event.orders,
        fills=event.fills,
    ).SerializeToString()
    return Encoded(f"performance.{event.account}", f"{run_id}/performance/{event.account}/{event.day}", payload)


@encode.register
def _(event: DayParity, run_id: str) -> Encoded:
    payload = account_pb2.DayParity(
        run_id=run_id,
        account=event.account,
        day=event.day.isoformat(),
        comparable=event.comparable,
        reason=event.reason,
        orders_equal=event.orders_equal,
        orders_different=event.orders_different,
        total_bps=decimals.to_text(event.total_bps),
        differences=[
            account_pb2.DayParity.Difference(
                subject=difference.subject,
                cause=difference.cause,
                field=difference.field,
                expected=difference.expected,
                actual=difference.actual,
                cost_bps="" if difference.cost_bps is None else decimals.to_text(difference.cost_bps),
            )
            for difference in event.differences
        ],
        differences_total=event.differences_total,
    ).SerializeToString()
    return Encoded(subjects.parity(event.account), f"{run_id}/parity/{event.account}/{event.day}", payload)


@encode.register
def _(event: Alert, run_id: str) -> Encoded:
    payload = account_pb2.Alert(
        alert_id=event.alert_id,
        run_id=run_id,
        severity=_number(account_pb2.Alert.Severity, event.severity),
        service=event.service,
        name=event.name,
        summary=blank(event.summary),
        facts={name: blank(fact) for name, fact in event.facts.items()},
        event_time_ms=event.event_time_ms,
        account=event.account,
        symbol=event.symbol,
    ).SerializeToString()
    return Encoded(f"alert.{event.severity}.{event.service}", f"{run_id}/alert/{event.alert_id}", payload)


def decode(subject: str, payload: bytes) -> Decoded[Any]:
    """Return the event that a message of the subject carries, with its run.

    Raises:
        DecodeError: If no event travels on the subject, or the payload is malformed.
    """
    if payload.startswith(_JSON):
        raise DecodeError(f"malformed message on {subject}: it is JSON, such as an answer of the server")
    for prefix, reader in _READERS:
        if subject.startswith(prefix):
            try:
                return reader(payload)
            except (message.DecodeError, InvalidInputError, ValueError, KeyError) as error:
                raise DecodeError(f"malformed message on {subject}: {error}") from error
    raise DecodeError(f"no event is known to travel on {subject}")


def _decode_trades(payload: bytes) -> Decoded[TradeBatch]:
    columns = _TradeColumns.FromString(payload)
    batch = TradeBatch(
        symbol=columns.symbol,
        times_ms=_from_bytes(columns.time_ms, "<i8"),
        prices=_from_bytes(columns.price, "<f8"),
        sizes=_from_bytes(columns.size, "<f8"),
        taker_sides=_from_bytes(columns.taker_side, "<i1"),
        window=columns.window,
    )
    count = len(batch)
    if not batch.symbol or any(part.size != count for part in (batch.prices, batch.sizes, batch.taker_sides)):
        raise InvalidInputError("a trade batch needs a symbol and columns of one length")
    return Decoded(columns.run_id, batch)


def _decode_bar(payload: bytes) -> Decoded[DailyBar]:
    bar = market_pb2.DailyBar.FromString(payload)
    return Decoded(
        bar.run_id,
        DailyBar(
            symbol=bar.symbol,
            day=date.fromisoformat(bar.day),
            state=_member(market_pb2.DailyBar.State, BarState, bar.state),
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            complete=bar.complete,
            window=bar.window,
        ),
    )


def _decode_clock(payload: bytes) -> Decoded[Clock]:
    clock = market_pb2.Clock.FromString(payload)
    return Decoded(
        clock.run_id,
        Clock(
            kind=_member(market_pb2.Clock.Kind, ClockKind, clock.kind),
            now_ms=clock.now_ms,
            trades_through_ms=clock.trades_through_ms,
            day=date.fromisoformat(clock.day),
            window=clock.window,
            trades_total=clock.trades_total,
        ),
    )


def _decode_intent(payload: bytes) -> Decoded[Intent]:
    intent = intent_pb2.Intent.FromString(payload)
    return Decoded(
        intent.run_id,
        Intent(
            intent_id=intent.intent_id,
            run_id=intent.run_id,
            account=intent.account,
            strategy_version=intent.strategy_version,
            symbol=intent.symbol,
            day=date.fromisoformat(intent.day),
            leg=_member(intent_pb2.Intent.Leg, Leg, intent.leg),
            attempt=intent.attempt,
            side=_member(intent_pb2.Intent.Side, Side, intent.side),
            target_price=decimals.from_text(intent.target_price),
            trigger_price=decimals.from_text(intent.trigger_price),
            trigger_time_ms=intent.trigger_time_ms,
            valid_until_ms=intent.valid_until_ms or None,
            gross_leverage=decimals.from_text(intent.gross_leverage),
            portfolio_size=intent.portfolio_size,
            epoch=intent.epoch,
        ),
    )


def _decode_order(payload: bytes) -> Decoded[OrderEvent]:
    order = order_pb2.OrderEvent.FromString(payload)
    return Decoded(
        order.run_id,
        OrderEvent(
            event_id=order.event_id,
            run_id=order.run_id,
            account=order.account,
            symbol=order.symbol,
            day=date.fromisoformat(order.day),
            strategy_version=order.strategy_version,
            intent_id=order.intent_id,
            order_link_id=order.order_link_id,
            child=order.child,
            status=_member(order_pb2.OrderEvent.Status, OrderStatus, order.status),
            leg=_member(intent_pb2.Intent.Leg, Leg, order.leg),
            side=_member(intent_pb2.Intent.Side, Side, order.side),
            reduce_only=order.reduce_only,
            quantity=decimals.from_text(order.quantity),
            filled_quantity=decimals.from_text(order.filled_quantity),
            average_price=_optional(order.average_price),
            target_price=decimals.from_text(order.target_price),
            trigger_price=decimals.from_text(order.trigger_price),
            trigger_time_ms=order.trigger_time_ms,
            intent_closed=order.intent_closed,
            event_time_ms=order.event_time_ms,
            reason=order.reason,
            detail=order.detail,
        ),
    )


def _decode_fill(payload: bytes) -> Decoded[Fill]:
    fill = order_pb2.Fill.FromString(payload)
    return Decoded(
        fill.run_id,
        Fill(
            exec_id=fill.exec_id,
            run_id=fill.run_id,
            account=fill.account,
            symbol=fill.symbol,
            order_id=fill.order_id,
            order_link_id=fill.order_link_id,
            side=_member(intent_pb2.Intent.Side, Side, fill.side),
            quantity=decimals.from_text(fill.quantity),
            price=decimals.from_text(fill.price),
            fee=decimals.from_text(fill.fee),
            fee_rate=decimals.from_text(fill.fee_rate),
            is_maker=fill.is_maker,
            kind=_member(order_pb2.Fill.Kind, FillKind, fill.kind),
            exec_time_ms=fill.exec_time_ms,
        ),
    )


def _decode_account(payload: bytes) -> Decoded[AccountSnapshot]:
    snapshot = account_pb2.AccountSnapshot.FromString(payload)
    return Decoded(
        snapshot.run_id,
        AccountSnapshot(
            run_id=snapshot.run_id,
            account=snapshot.account,
            kind=_member(account_pb2.AccountSnapshot.Kind, SnapshotKind, snapshot.kind),
            day=date.fromisoformat(snapshot.day),
            equity=decimals.from_text(snapshot.equity),
            wallet_balance=decimals.from_text(snapshot.wallet_balance),
            net_deposits=decimals.from_text(snapshot.net_deposits),
            positions=tuple(
                Position(
                    symbol=position.symbol,
                    size=decimals.from_text(position.size),
                    average_price=decimals.from_text(position.average_price),
                    mark_price=decimals.from_text(position.mark_price),
                    unrealised_pnl=decimals.from_text(position.unrealised_pnl),
                )
                for position in snapshot.positions
            ),
            fills_total=snapshot.fills_total,
            event_time_ms=snapshot.event_time_ms,
        ),
    )


def _decode_performance(payload: bytes) -> Decoded[DailyPerformance]:
    row = account_pb2.DailyPerformance.FromString(payload)
    return Decoded(
        row.run_id,
        DailyPerformance(
            run_id=row.run_id,
            account=row.account,
            day=date.fromisoformat(row.day),
            equity=decimals.from_text(row.equity),
            net_deposits=decimals.from_text(row.net_deposits),
            ror=decimals.from_text(row.ror),
            cumulative=decimals.from_text(row.cumulative),
            drawdown=decimals.from_text(row.drawdown),
            mdd=decimals.from_text(row.mdd),
            orders=row.orders,
            fills=row.fills,
        ),
    )


def _decode_parity(payload: bytes) -> Decoded[DayParity]:
    row = account_pb2.DayParity.FromString(payload)
    return Decoded(
        row.run_id,
        DayParity(
            run_id=row.run_id,
            account=row.account,
            day=date.fromisoformat(row.day),
            comparable=row.comparable,
            reason=row.reason,
            orders_equal=row.orders_equal,
            orders_different=row.orders_different,
            total_bps=decimals.from_text(row.total_bps),
            differences=tuple(
                DayDifference(
                    subject=difference.subject,
                    cause=difference.cause,
                    field=difference.field,
                    expected=difference.expected,
                    actual=difference.actual,
                    cost_bps=_optional(difference.cost_bps),
                )
                for difference in row.differences
            ),
            differences_total=row.differences_total,
        ),
    )


def _decode_alert(payload: bytes) -> Decoded[Alert]:
    alert = account_pb2.Alert.FromString(payload)
    return Decoded(
        alert.run_id,
        Alert(
            alert_id=alert.alert_id,
            run_id=alert.run_id,
            severity=_member(account_pb2.Alert.Severity, Severity, alert.severity),
            service=alert.service,
            name=alert.name,
            summary=alert.summary,
            event_time_ms=alert.event_time_ms,
            account=alert.account,
            symbol=alert.symbol,
            facts=dict(alert.facts),
        ),
    )


_READERS: tuple[tuple[str, Callable[[bytes], Decoded[Any]]], ...] = (
    ("md.trades.", _decode_trades),
    ("md.bars.1d.", _decode_bar),
    ("md.clock.", _decode_clock),
    ("intent.", _decode_intent),
    ("order.", _decode_order),
    ("fill.", _decode_fill),
    ("account.", _decode_account),
    ("performance.parity.", _decode_parity),  # account names hold no dots, so no account's own subject begins so
    ("performance.", _decode_performance),
    ("alert.", _decode_alert),
)


def _prefix(wrapper: Any) -> str:
    name: str = wrapper.Name(0)
    return name.removesuffix("UNSPECIFIED")


def _number(wrapper: Any, member: StrEnum) -> Any:
    return wrapper.Value(_prefix(wrapper) + member.name)


def _member[E: StrEnum](wrapper: Any, kind: type[E], number: int) -> E:
    name: str = wrapper.Name(number)
    return kind[name.removeprefix(_prefix(wrapper))]


def _optional(text: str) -> Decimal | None:
    return decimals.from_text(text) if text else None
