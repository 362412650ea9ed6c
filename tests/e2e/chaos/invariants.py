"""What must hold after every run, whatever died; each check returns its breaches as text, none when it holds."""

from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Leg, OrderStatus
from breakwater_core.identities import order_link_id
from tests.e2e.chaos.world import Evidence
from tests.e2e.command import comparable

MOST_CHILDREN = 200
ALARMS = frozenset({"position_not_flat", "exit_at_risk", "flatten_overdue"})
"""Alerts that tell a person that a position is not coming down."""
NEEDS_NO_REASON = frozenset({OrderStatus.FILLED, OrderStatus.FLAT})


def one_chain_per_intent(evidence: Evidence) -> list[str]:
    """Each intent led to at most one chain of orders, each child of it once, and no order is without an intent."""
    owners = {
        order_link_id(intent.intent_id, child): intent for intent in evidence.intents for child in range(MOST_CHILDREN)
    }
    faults = []
    for account, books in evidence.books["accounts"].items():
        sent = Counter(order["orderLinkId"] for order in books["orders"] if order["orderStatus"] != "Rejected")
        faults += [
            f"{account}: {link} stands {count} times at the exchange" for link, count in sent.items() if count > 1
        ]
        for order in books["orders"]:
            intent = owners.get(order["orderLinkId"])
            if intent is None:
                faults.append(f"{account}: {order['symbol']} {order['orderLinkId']} has no intent")
            elif (intent.symbol, intent.side.value) != (order["symbol"], order["side"].lower()):
                faults.append(f"{order['orderLinkId']} is {order['side']} {order['symbol']}, unlike {intent.intent_id}")
    decisions = Counter(
        (intent.account, intent.symbol, intent.day) for intent in _distinct(evidence) if intent.leg is Leg.ENTRY
    )
    return faults + [f"{decision}: {count} entries" for decision, count in decisions.items() if count > 1]


def every_intent_ends(evidence: Evidence) -> list[str]:
    """Every intent has one final outcome, with a reason unless it went as meant."""
    outcomes: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for event in evidence.order_events:
        if event.intent_closed:
            outcomes[event.intent_id][event.event_id] = event
    faults = []
    for intent in _distinct(evidence):
        found = list(outcomes[intent.intent_id].values())
        if len(found) != 1:
            faults.append(f"{intent.intent_id}: {len(found)} final outcomes")
        elif found[0].status not in NEEDS_NO_REASON and not found[0].reason:
            faults.append(f"{intent.intent_id}: {found[0].status} without a reason")
    return faults


def ledger_is_the_exchanges(evidence: Evidence) -> list[str]:
    """Fills, positions, fees and wallet are the exchange's to the last decimal, and each fill is there once."""
    there = {
        row["execId"]: (
            row["symbol"],
            row["side"].lower(),
            *map(Decimal, (row["execQty"], row["execPrice"], row["execFee"])),
        )
        for books in evidence.books["accounts"].values()
        for row in books["executions"]
    }
    here = {
        row["exec_id"]: (row["symbol"], row["side"], *map(Decimal, (row["qty"], row["price"], row["fee"])))
        for row in evidence.report["fills"]
    }
    faults = [f"execution {found} is not in the database" for found in there.keys() - here.keys()]
    faults += [f"execution {found} is not at the exchange" for found in here.keys() - there.keys()]
    faults += [
        f"{name}: {here[name]} is {there[name]} at the exchange"
        for name in here.keys() & there.keys()
        if here[name] != there[name]
    ]
    for account, books in evidence.books["accounts"].items():
        last = [row for row in evidence.report["days"] if row["account"] == account][-1:]
        if last and Decimal(last[0]["equity"]) != Decimal(books["totals"]["wallet"]):
            faults.append(f"{account}: equity {last[0]['equity']} in the last row, wallet {books['totals']['wallet']}")
        sizes: defaultdict[str, Decimal] = defaultdict(Decimal)
        for symbol, side, quantity, _, _ in here.values():
            sizes[symbol] += quantity if side == "buy" else -quantity
        exchange = {row["symbol"]: _signed(row) for row in books["positions"]}
        faults += [
            f"{symbol}: {sizes[symbol]} in the ledger, {exchange.get(symbol, 0)} at the exchange"
            for symbol in sizes.keys() | exchange.keys()
            if sizes[symbol] != exchange.get(symbol, Decimal(0))
        ]
    return faults


def told_once(evidence: Evidence) -> list[str]:
    """Each fill was told once; one may be missing only if the notifier died in the moment of posting, and says so."""
    fills = {row["exec_id"] for row in evidence.report["fills"]}
    faults = [f"execution {name} was told {count} times" for name, count in evidence.told.items() if count > 1]
    missing = fills - evidence.told.keys()
    if len(missing) > evidence.told_unknown:
        faults.append(
            f"{len(missing)} executions were not told, {evidence.told_unknown} notices are known to be unknown"
        )
    return faults


def flat_at_the_days_end(evidence: Evidence) -> list[str]:
    """At the end of each day, and of the run, nothing is open, or an alarm was raised."""
    session = BreakwaterConfig().session.session()
    alarmed = {alert.symbol for alert in evidence.alerts if alert.name in ALARMS}
    sizes: defaultdict[str, Decimal] = defaultdict(Decimal)
    faults = []
    day = None
    executions = sorted(
        (row for books in evidence.books["accounts"].values() for row in books["executions"]),
        key=lambda row: int(row["execTime"]),
    )
    for row in executions:
        now = session.day_of(int(row["execTime"]))
        if day is not None and now != day:
            faults += [
                f"{symbol}: {size} open at the end of {day}"
                for symbol, size in sizes.items()
                if size and symbol not in alarmed
            ]
        day = now
        if row["execType"] != "Funding":
            sizes[row["symbol"]] += Decimal(row["execQty"]) * (1 if row["side"] == "Buy" else -1)
    faults += [f"{symbol}: {size} open at the end of the run" for symbol, size in sizes.items() if size]
    for books in evidence.books["accounts"].values():
        faults += [
            f"order {order['orderLinkId']} is {order['orderStatus']}"
            for order in books["orders"]
            if order["orderStatus"] in {"New", "PartiallyFilled", "Untriggered"}
        ]
    return faults


def within_the_limits(evidence: Evidence) -> list[str]:
    """The exchange counted no breach of its limits that was not injected."""
    breaches = {name: count for name, count in evidence.books["limit_breaches"].items() if count}
    if evidence.books["address_limit_breaches"]:
        breaches["address"] = evidence.books["address_limit_breaches"]
    return [f"limits were exceeded: {breaches}"] if breaches else []


def nothing_was_put_aside(evidence: Evidence) -> list[str]:
    """No message became a dead letter."""
    return [f"dead letter on {subject}" for subject in evidence.dead_letters]


def nobody_needed_more_rights(evidence: Evidence) -> list[str]:
    """Each service got by with its own user's permissions on the bus."""
    return [f"denied on the bus: {line}" for line in evidence.denied]


CHECKS: tuple[Callable[[Evidence], list[str]], ...] = (
    one_chain_per_intent,
    every_intent_ends,
    ledger_is_the_exchanges,
    told_once,
    flat_at_the_days_end,
    within_the_limits,
    nothing_was_put_aside,
    nobody_needed_more_rights,
)


def breaches(evidence: Evidence, expected: dict[str, Any] | None) -> list[str]:
    """Return every breach, with the name of the invariant.

    Args:
        evidence: What the run left behind.
        expected: The backtest's report, if the run must equal it.
    """
    found = [f"{check.__name__}: {fault}" for check in CHECKS for fault in check(evidence)]
    if expected is not None and comparable(evidence.report) != comparable(expected):
        found.append(f"equals_the_backtest: {_difference(evidence.report, expected)}")
    return found


def _difference(report: dict[str, Any], expected: dict[str, Any]) -> str:
    """Return the first difference of two reports."""
    for key in ("config", "orders", "fills", "refused", "days"):
        if report[key] == expected[key]:
            continue
        if isinstance(report[key], list):
            for number, (one, other) in enumerate(zip(report[key], expected[key], strict=False)):
                if one != other:
                    return f"{key}[{number}] is {one}, expected {other}"
            return f"{len(report[key])} {key}, expected {len(expected[key])}"
        return f"{key} is {report[key]}, expected {expected[key]}"
    return f"counters are {report['counters']}, expected {expected['counters']}"


def _distinct(evidence: Evidence) -> list[Any]:
    return list({intent.intent_id: intent for intent in evidence.intents}.values())


def _signed(row: dict[str, Any]) -> Decimal:
    size = Decimal(row["size"])
    return -size if row["side"] == "Sell" else size
