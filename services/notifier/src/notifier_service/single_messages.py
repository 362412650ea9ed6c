"""The message that tells of one event: an order's end, a fill, a day's performance or parity, an alert."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import singledispatch

from slack_sdk.models.blocks import Block

from breakwater_core.decimals import MONEY, to_text
from breakwater_core.events import (
    Alert,
    DailyPerformance,
    DayDifference,
    DayParity,
    Fill,
    FillKind,
    OrderEvent,
    Severity,
)
from notifier_service import markup
from notifier_service.message import (
    Message,
    MessageLinks,
    context,
    fields,
    header,
    money,
    percent,
    prefix_of,
    preformatted,
    section,
)

_SIGNS = {Severity.INFO: ":information_source:", Severity.WARNING: ":warning:", Severity.CRITICAL: ":rotating_light:"}
_FACTS_SHOWN = 10
_LEADING_SHOWN = 5
_DIFFERENCES_SHOWN = 20
_DIFFERENCE_LIMIT = 110
_SHOWN_BPS = Decimal("0.1")
LATEST_MS = 253_402_300_799_000
"""The last second of the year 9999, milliseconds since 1970-01-01T00:00Z."""


@singledispatch
def single_message(event: object, run_id: str, links: MessageLinks) -> Message:
    """Return the message that tells of one event of the run.

    Raises:
        TypeError: If nobody is told of such events.
    """
    raise TypeError(f"no message tells of {type(event).__name__}")


@single_message.register
def _(event: OrderEvent, run_id: str, links: MessageLinks) -> Message:
    status = event.status.value.replace("_", " ")
    title = f"{prefix_of(run_id)}Order {status}: {event.symbol} {event.leg} {event.side}"
    price = "" if event.average_price is None else f" @ {to_text(event.average_price)}"
    because = markup.one_line(": ".join(part for part in (event.reason, event.detail) if part))
    url = links.order(run_id, event.order_link_id)
    text = (
        f"{title} {to_text(event.filled_quantity)} of {to_text(event.quantity)}{price}, account {event.account}"
        f"{f' ({because})' if because else ''}{f' {url}' if url else ''}"
    )
    blocks: list[Block] = [
        header(title),
        fields(
            {
                "Filled": f"{to_text(event.filled_quantity)} of {to_text(event.quantity)}",
                "Average price": "-" if event.average_price is None else to_text(event.average_price),
                "Target price": to_text(event.target_price),
                "Account": event.account,
                "Configuration": event.strategy_version,
            }
        ),
    ]
    if because:
        blocks.append(section(because))
    blocks.append(_order_context(event.order_link_id, url, event.event_time_ms, f"intent {event.intent_id}"))
    return Message(markup.one_line(text), tuple(blocks))


@single_message.register
def _(event: Fill, run_id: str, links: MessageLinks) -> Message:
    title = f"{prefix_of(run_id)}{_fill_title(event)}"
    role = "maker" if event.is_maker else "taker"
    url = links.order(run_id, event.order_link_id)
    amount = money(event.quantity * event.price)
    fee = f"{to_text(event.fee)} USDT"
    text = (
        f"{title} {to_text(event.quantity)} @ {to_text(event.price)} = {amount}, fee {fee} ({role}), "
        f"account {event.account}{f' {url}' if url else ''}"
    )
    values = {
        "Quantity": to_text(event.quantity),
        "Price": to_text(event.price),
        "Value": amount,
        "Fee": f"{fee} ({role})",
        "Account": event.account,
    }
    if event.kind is FillKind.FUNDING:
        direction = "received" if event.fee < 0 else "paid"
        paid = f"{direction} {to_text(abs(event.fee))} USDT"
        text = f"{title} {paid} on {to_text(event.quantity)} @ {to_text(event.price)}, account {event.account}"
        values = {"Funding": paid, "Account": event.account}
    blocks: tuple[Block, ...] = (
        header(title),
        fields(values),
        _order_context(event.order_link_id, url, event.exec_time_ms, f"execution {event.exec_id}"),
    )
    return Message(markup.one_line(text), blocks)


@single_message.register
def _(event: DailyPerformance, run_id: str, _links: MessageLinks) -> Message:
    title = f"{prefix_of(run_id)}Performance of {event.account} on {event.day}: {percent(event.ror - 1, signed=True)}"
    values = {
        "Return of the day": percent(event.ror - 1, signed=True),
        "Cumulative return": percent(event.cumulative - 1, signed=True),
        "Drawdown": percent(event.drawdown),
        "MDD": percent(event.mdd),
        "Equity": money(event.equity),
        "Orders, fills": f"{event.orders}, {event.fills}",
    }
    if event.net_deposits:
        values["Net deposits"] = money(event.net_deposits)
    text = (
        f"{title}, cumulative {values['Cumulative return']}, drawdown {values['Drawdown']}, MDD {values['MDD']}, "
        f"equity {values['Equity']}"
    )
    return Message(markup.one_line(text), (header(title), fields(values)))


@single_message.register
def _(event: DayParity, run_id: str, _links: MessageLinks) -> Message:
    title = f"{prefix_of(run_id)}Parity of {event.account} on {event.day}"
    line = parity_line(event)
    blocks: list[Block] = [header(title), section(line)]
    rows = [_difference_row(difference) for difference in event.differences]
    if rows:
        text, shown = markup.code_block(rows[:_DIFFERENCES_SHOWN], row_limit=_DIFFERENCE_LIMIT)
        blocks.append(preformatted(text))
        if event.differences_total > shown:
            blocks.append(context(f"and {event.differences_total - shown} more"))
    return Message(markup.one_line(f"{prefix_of(run_id)}{line}"), tuple(blocks))


def parity_line(event: DayParity) -> str:
    """Return what the comparison of a day with its backtest found, on one line.

    Of each order the costliest difference is named; figures of the day follow from the orders and are left out, unless
    they are all there is.
    """
    title = f"parity {event.day} {event.account}:"
    if not event.comparable:
        return markup.one_line(f"{title} not comparable: {event.reason}")
    found = f"{event.orders_equal} order{'' if event.orders_equal == 1 else 's'} equal"
    if event.orders_different:
        found += f", {event.orders_different} differ{'s' if event.orders_different == 1 else ''}"
    named = _leading(event.differences)
    if named:
        found += f": {', '.join(named[:_LEADING_SHOWN])}"
        left = len(named) - _LEADING_SHOWN
        found += f" and {left} more" if left > 0 else ""
    return markup.one_line(f"{title} {found}; total {to_text(event.total_bps)} bps")


def _leading(differences: tuple[DayDifference, ...]) -> list[str]:
    costliest: dict[str, DayDifference] = {}
    for difference in differences:
        known = costliest.get(difference.subject)
        if difference.subject and (known is None or _weight(difference) > _weight(known)):
            costliest[difference.subject] = difference
    chosen = costliest.values() if costliest else differences
    return [_difference_text(difference) for difference in chosen]


def _weight(difference: DayDifference) -> Decimal:
    return Decimal(0) if difference.cost_bps is None else abs(difference.cost_bps)


def _difference_text(difference: DayDifference) -> str:
    cost = "" if not difference.cost_bps else f" {to_text(difference.cost_bps.quantize(_SHOWN_BPS, context=MONEY))} bps"
    reason = difference.field if difference.cause == "day" else difference.cause
    return f"{difference.subject} {reason}{cost}".strip()


def _difference_row(difference: DayDifference) -> str:
    cost = "" if difference.cost_bps is None else f"{to_text(difference.cost_bps)} bps"
    values = f"{difference.expected or '-'} -> {difference.actual or '-'}"
    return f"{difference.subject:<22} {difference.cause:<13} {difference.field:<14} {values}  {cost}".rstrip()


@single_message.register
def _(event: Alert, run_id: str, links: MessageLinks) -> Message:
    subject = " ".join(part for part in (event.account, event.symbol) if part)
    title = f"{prefix_of(run_id)}{event.severity.upper()} {event.name} ({event.service})"
    entry = links.runbook_entry(event.name)
    text = f"{title}: {event.summary}{f' [{subject}]' if subject else ''} runbook: {entry}"
    blocks: list[Block] = [header(f"{_SIGNS[event.severity]} {title}"), section(markup.one_line(event.summary) or "-")]
    facts = {"subject": subject} if subject else {}
    facts |= {name: markup.one_line(value) or "-" for name, value in sorted(event.facts.items())}
    if facts:
        blocks.append(fields(facts))
    small = [markup.link(entry, "Runbook") if entry.startswith(("http://", "https://")) else f"Runbook: `{entry}`"]
    if event.event_time_ms > 0:
        small.append(time_text(event.event_time_ms))
    if len(facts) > _FACTS_SHOWN:
        small.append(f"and {len(facts) - _FACTS_SHOWN} more facts, in the log")
    blocks.append(context(*small))
    return Message(markup.one_line(text), tuple(blocks))


def time_text(time_ms: int) -> str:
    """Return an instant as text, UTC to the second; one that no calendar has is shown as the number it is."""
    if not 0 <= time_ms <= LATEST_MS:
        return f"{time_ms} ms"
    return datetime.fromtimestamp(time_ms // 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _fill_title(event: Fill) -> str:
    match event.kind:
        case FillKind.FUNDING:
            return f"Funding: {event.symbol}"
        case FillKind.LIQUIDATION:
            return f"LIQUIDATION: {event.symbol} {event.side}"
        case _:
            return f"Fill: {event.symbol} {event.side}"


def _order_context(order_link_id: str, url: str | None, time_ms: int, cause: str) -> Block:
    parts = [time_text(time_ms)]
    if url:
        parts.append(markup.link(url, "Open the order"))
    elif order_link_id:
        parts.append(f"order {markup.clip(order_link_id, 100)}")
    parts.append(markup.clip(cause, 500))
    return context(*parts)
