"""The message that tells of many events at once, when they come in a storm: counts, sums, the first rows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from slack_sdk.models.blocks import Block

from breakwater_core.decimals import to_text
from breakwater_core.events import Alert, DailyPerformance, DayParity, Fill, FillKind, OrderEvent, Side
from notifier_service import markup
from notifier_service.message import Message, context, header, money, percent, prefix_of, preformatted, section
from notifier_service.single_messages import LATEST_MS, parity_line, time_text

ROWS_SHOWN = 10
ROW_LIMIT = 110


@dataclass
class _SymbolSums:
    """What was filled of one symbol; amounts in base units, value and fees in quote currency."""

    fills: int = 0
    bought: Decimal = field(default_factory=Decimal)
    sold: Decimal = field(default_factory=Decimal)
    value: Decimal = field(default_factory=Decimal)
    fees: Decimal = field(default_factory=Decimal)

    def add(self, fill: Fill) -> None:
        self.fills += 1
        self.fees += fill.fee
        if fill.kind is FillKind.FUNDING:  # no trade: its price and quantity only say what the payment was based on
            return
        self.value += fill.quantity * fill.price
        if fill.side is Side.BUY:
            self.bought += fill.quantity
        else:
            self.sold += fill.quantity


def trading_summary(events: Sequence[OrderEvent | Fill], run_id: str) -> Message:
    """Return one message that counts every order and fill of the sequence once, and shows the first of them."""
    fills = [event for event in events if isinstance(event, Fill)]
    orders = [event for event in events if isinstance(event, OrderEvent)]
    sums: defaultdict[str, _SymbolSums] = defaultdict(_SymbolSums)
    for fill in fills:
        sums[fill.symbol].add(fill)
    outcomes = Counter(order.status.value for order in orders)
    outcome_text = ", ".join(f"{count} {status}" for status, count in sorted(outcomes.items()))
    value = sum((part.value for part in sums.values()), Decimal(0))
    fees = sum((part.fees for part in sums.values()), Decimal(0))
    counts = " and ".join(
        part for part in (_counted(len(fills), "fill"), _counted(len(orders), "order")) if not part.startswith("0 ")
    )
    title = f"{prefix_of(run_id)}{counts}"
    facts = []
    if fills:
        facts.append(f"fills of {_counted(len(sums), 'symbol')}: {money(value)}, fees and funding {money(fees)}")
    if orders:
        facts.append(f"orders: {outcome_text}")
    blocks: list[Block] = [header(title), section("\n".join(facts))]
    if sums:
        ranked = sorted(sums.items(), key=lambda item: (-item[1].value, item[0]))
        rows = [
            f"{symbol:<14} {part.fills:>5} fills  bought {to_text(part.bought)}  sold {to_text(part.sold)}  "
            f"{money(part.value)}"
            for symbol, part in ranked
        ]
        blocks += _table(rows)
    blocks += _table([_trading_row(event) for event in events])
    blocks.append(_span([fill.exec_time_ms for fill in fills] + [order.event_time_ms for order in orders]))
    return Message(markup.one_line(f"{title}; {'; '.join(facts)}"), tuple(blocks))


def alert_summary(alerts: Sequence[Alert], run_id: str) -> Message:
    """Return one message that counts the alerts by name, and shows the first of each."""
    names = Counter((alert.severity.value, alert.name) for alert in alerts)
    firsts: dict[tuple[str, str], Alert] = {}
    for alert in alerts:
        firsts.setdefault((alert.severity.value, alert.name), alert)
    title = f"{prefix_of(run_id)}{_counted(len(alerts), 'alert')}"
    counts = [f"{count} x {severity} {name}" for (severity, name), count in names.most_common()]
    rows = [
        f"{count:>4} x {key[0]:<8} {key[1]} ({firsts[key].service}): {firsts[key].summary}"
        for key, count in names.most_common()
    ]
    blocks: list[Block] = [header(f":warning: {title}"), *_table(rows)]
    blocks.append(_span([alert.event_time_ms for alert in alerts if alert.event_time_ms > 0]))
    return Message(_clipped_list(title, counts), tuple(blocks))


def performance_summary(days: Sequence[DailyPerformance], parities: Sequence[DayParity], run_id: str) -> Message:
    """Return one message with the newest of the days and their comparisons, and the number of the rest."""
    lines = [parity_line(parity) for parity in sorted(parities, key=lambda row: (row.day, row.account), reverse=True)]
    if not days:
        title = f"{prefix_of(run_id)}Parity of {_counted(len(lines), 'day')}"
        return Message(_clipped_list(title, lines), (header(title), *_table(lines)))
    newest = sorted(days, key=lambda row: (row.day, row.account), reverse=True)
    last = newest[0]
    title = f"{prefix_of(run_id)}Performance of {_counted(len(days), 'day')} until {last.day}"
    standing = (
        f"cumulative {percent(last.cumulative - 1, signed=True)}, drawdown {percent(last.drawdown)}, "
        f"MDD {percent(last.mdd)}, equity {money(last.equity)}, account {last.account}"
    )
    rows = [
        f"{row.day} {row.account:<10} {percent(row.ror - 1, signed=True):>10} "
        f"cumulative {percent(row.cumulative - 1, signed=True):>11} "
        f"drawdown {percent(row.drawdown):>8} {money(row.equity):>20}"
        for row in newest
    ]
    text = markup.one_line("; ".join([f"{title}: {standing}", *lines[:ROWS_SHOWN]]))
    return Message(text, (header(title), section(standing), *_table(rows), *(_table(lines) if lines else ())))


def _trading_row(event: OrderEvent | Fill) -> str:
    if isinstance(event, Fill):
        kind = "fill" if event.kind is FillKind.TRADE else event.kind.value
        amount = f"{event.side:<4} {to_text(event.quantity)} @ {to_text(event.price)}"
        value = money(event.quantity * event.price)
        return f"{_clock_text(event.exec_time_ms)} {kind:<8} {event.symbol:<14} {amount} = {value}"
    price = "" if event.average_price is None else f" @ {to_text(event.average_price)}"
    amount = f"{event.side:<4} {to_text(event.filled_quantity)} of {to_text(event.quantity)}{price}"
    because = f" ({event.reason})" if event.reason else ""
    return f"{_clock_text(event.event_time_ms)} {event.status.value:<8} {event.symbol:<14} {amount}{because}"


def _table(rows: Sequence[str]) -> list[Block]:
    text, shown = markup.code_block(rows[:ROWS_SHOWN], row_limit=ROW_LIMIT)
    blocks: list[Block] = [preformatted(text)]
    if len(rows) > shown:
        blocks.append(context(f"and {len(rows) - shown} more"))
    return blocks


def _span(times_ms: Iterable[int]) -> Block:
    times = sorted(times_ms)
    if not times:
        return context("no time stated")
    return context(f"{time_text(times[0])} to {time_text(times[-1])}")


def _clock_text(time_ms: int) -> str:
    return time_text(time_ms)[11:19] if 0 <= time_ms <= LATEST_MS else "--:--:--"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _clipped_list(title: str, parts: Sequence[str]) -> str:
    rest = f", and {len(parts) - ROWS_SHOWN} more" if len(parts) > ROWS_SHOWN else ""
    return markup.one_line(f"{title}: {', '.join(parts[:ROWS_SHOWN])}{rest}")
