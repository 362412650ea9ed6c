"""The faults of a running exchange: an operator's rules, asked about each request, order and frame, and their hits.

A rule's chance is drawn from the seed, the rule's place, the subject's own name and how often that name was seen. So
the same requests meet with the same faults in whatever order those of different symbols arrive. Only `limit` looks at
the whole exchange: the first hits use it up.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import structlog

from paper_exchange_service.engine.orders import AS_IT_IS, Order, OrderRequest, Outcome, TimeInForce
from paper_exchange_service.engine.refusal import Refusal
from paper_exchange_service.fault_rules import (
    FRAME_KINDS,
    NO_RULES,
    REQUEST_KINDS,
    FaultRule,
    FaultRules,
    Kind,
    Subject,
    draw,
    matches,
)
from paper_exchange_service.faults import (
    AS_USUAL,
    PLAIN,
    CodeAnswer,
    Fate,
    Faults,
    HttpAnswer,
    Lost,
    NoFaults,
    Verdict,
)

_STATUSES = {500: b"Internal Server Error", 502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout"}
_TEXTS = {
    10000: "Server Timeout",
    10016: "Internal server error.",
    110007: "ab not enough for new order",
    110066: "Trading is currently not allowed.",
    110074: "This contract is not live",
}
_RESET_MS = 1000
_HELD_MS = 200
_BANNED_ON_SOCKET = 10403
_OUTCOMES = frozenset({Kind.PARTIAL_FILL, Kind.UNFILLED_IOC, Kind.REJECT_ORDER})
_log = structlog.get_logger()


class FaultLayer:
    """Holds the rules, counts what they hit. Without rules and without a test's hook nothing changes.

    Attributes:
        injected: Hits by kind since the exchange was started, also those of rules that are gone.
        banned_requests: Requests refused with 403 because of an `address_ban`, since the start.
    """

    def __init__(self, hook: Faults | None = None, rules: FaultRules = NO_RULES) -> None:
        """Start with the rules of the settings.

        Args:
            hook: Is asked before the rules; for tests.
            rules: What goes wrong from the start.
        """
        self.injected: Counter[str] = Counter()
        self.banned_requests = 0
        self._hook = hook or NoFaults()
        self._rules = rules
        self._hits: list[int] = []
        self._hits_of: Counter[tuple[int, str]] = Counter()
        self._seen: Counter[str] = Counter()
        self._banned_until: dict[str, int] = {}
        self.set_rules(rules)

    def set_rules(self, rules: FaultRules) -> None:
        """Replace the rules; counts begin anew, bans end."""
        self._rules = rules
        self._hits = [0] * len(rules.rules)
        self._hits_of.clear()
        self._seen.clear()
        self._banned_until.clear()

    def state(self) -> dict[str, Any]:
        """Return the rules with their hits, and the hits by kind of these rules."""
        by_kind: Counter[str] = Counter()
        rows = []
        for rule, hits in zip(self._rules.rules, self._hits, strict=True):
            by_kind[rule.kind.value] += hits
            rows.append(rule.model_dump(mode="json", exclude_unset=True) | {"hits": hits})
        return {
            "seed": self._rules.seed,
            "rules": rows,
            "hits": dict(sorted(by_kind.items())),
            "total": sum(self._hits),
            "banned_requests": self.banned_requests,
        }

    def of_request(self, subject: Subject, method: str, address: str, *, changes: bool, now_ms: int) -> Verdict:
        """Return what becomes of a request.

        Args:
            subject: The request.
            method: Its HTTP method.
            address: Where it comes from.
            changes: Whether it would change anything.
            now_ms: Wall clock, from which a ban is counted.
        """
        scripted = self._hook.of_request(method, subject.path, subject.account)
        verdict = scripted.verdict
        if not self._rules.rules or verdict != AS_USUAL:
            return verdict
        self.count_skew(subject.time_ms)
        delay_s = 0.0
        for number, rule, attempt in self._hit(subject, REQUEST_KINDS, skips=_trading_only(changes=changes)):
            if rule.kind is Kind.LATENCY:
                delay_s += (rule.delay_ms or 0) / 1000
                continue
            if rule.kind is Kind.ADDRESS_BAN:
                self._banned_until[address] = now_ms + (rule.duration_ms or 0)
            verdict = self._verdict(number, rule, subject.identity, attempt)
            break
        return Verdict(verdict.handled, verdict.answer, delay_s) if delay_s else verdict

    def is_banned(self, address: str, now_ms: int) -> bool:
        """Whether the address is refused by a ban; counts the request if so."""
        if now_ms >= self._banned_until.get(address, 0):
            return False
        self.banned_requests += 1
        return True

    def refuse(self, account: str, request: OrderRequest, at_ms: int) -> None:
        """Raise the refusal that an order meets instead of being accepted.

        Raises:
            Refusal: If a rule of `reject_order` or `suspend_symbol` hits it.
        """
        if not self._rules.rules:
            return
        subject = _order_subject("place", account, request, at_ms)
        kinds = frozenset({Kind.REJECT_ORDER, Kind.SUSPEND_SYMBOL})
        for _, rule, _ in self._hit(subject, kinds, skips=lambda rule: rule.asynchronous):
            code = rule.code or (110007 if rule.kind is Kind.REJECT_ORDER else 110074)
            raise Refusal(code, _TEXTS.get(code, "The order is refused."))

    def outcome(self, order: Order, step: Decimal) -> Outcome:
        """Return what becomes of an accepted order once it is matched; `step` is the symbol's quantity step."""
        if not self._rules.rules:
            return AS_IT_IS
        immediate = order.is_market or order.request.time_in_force is TimeInForce.IOC

        def skips(rule: FaultRule) -> bool:
            if rule.kind is Kind.REJECT_ORDER:
                return not rule.asynchronous
            return not immediate or (rule.kind is Kind.PARTIAL_FILL and order.leaves <= step)

        subject = _order_subject("match", order.account, order.request, order.created_ms)
        for number, rule, attempt in self._hit(subject, _OUTCOMES, skips=skips):
            if rule.kind is Kind.REJECT_ORDER:
                return Outcome(rejected=rule.reason)
            if rule.kind is Kind.UNFILLED_IOC:
                return Outcome(share=Decimal(0))
            drawn = self._draw(number, subject.identity, attempt, "share")
            return Outcome(share=rule.share or Decimal(10 + int(drawn * 81)) / 100)
        return AS_IT_IS

    def is_suspended(self, symbol: str, at_ms: int) -> bool:
        """Whether a rule that is not used up suspends the symbol at the time, for every account."""
        return any(
            rule.kind is Kind.SUSPEND_SYMBOL
            and rule.symbol in {"", symbol}
            and not rule.account
            and not rule.order_link_id
            and rule.holds_at(at_ms)
            and not self._is_used_up(number, rule)
            for number, rule in enumerate(self._rules.rules)
        )

    def of_frame(self, account: str, topic: str, frame: dict[str, Any]) -> list[tuple[dict[str, Any], Fate]]:
        """Return the frames that are sent in place of one of a private stream, and what becomes of each."""
        frames = self._hook.of_frame(topic, frame)
        if not self._rules.rules:
            return [(sent, PLAIN) for sent in frames]
        return [(sent, self._fate(account, topic, sent)) for sent in frames]

    def drops_public(self, topic: str, now_ms: int) -> bool:
        """Whether the sockets that read a public topic are closed instead of being sent its next frame."""
        if not self._rules.rules:
            return False
        subject = Subject(f"public/{topic}", now_ms, topic=topic, symbols=(topic.rpartition(".")[2],))
        return any(True for _ in self._hit(subject, frozenset({Kind.PUBLIC_DROP})))

    def skew_ms(self, now_ms: int) -> int:
        """Return how far the server's clock is ahead of the exchange's, milliseconds; below 0: behind."""
        return sum(
            rule.delay_ms or 0 for rule in self._rules.rules if rule.kind is Kind.CLOCK_SKEW and rule.holds_at(now_ms)
        )

    def count_skew(self, now_ms: int) -> None:
        """Count a request or login that met with a clock that is off."""
        for number, rule in enumerate(self._rules.rules):
            if rule.kind is Kind.CLOCK_SKEW and rule.holds_at(now_ms):
                self._count(number, rule, "")

    def _fate(self, account: str, topic: str, frame: dict[str, Any]) -> Fate:
        rows = frame.get("data")
        row: Mapping[str, Any] = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
        time_ms = int(frame.get("creationTime") or 0)
        names = ("symbol", "orderId", "execId", "orderStatus", "cumExecQty", "seq")
        subject = Subject(
            "/".join([account, topic, str(time_ms), *(str(row.get(name, "")) for name in names)]),
            time_ms,
            account=account,
            topic=topic,
            symbols=(str(row.get("symbol", "")),),
            order_link_ids=(str(row.get("orderLinkId", "")),),
        )
        copies, delay_s, held_s = 1, 0.0, None
        for _, rule, _ in self._hit(subject, FRAME_KINDS):
            if rule.kind is Kind.PRIVATE_DROP:
                return Fate(drops=True)
            if rule.kind is Kind.DUPLICATE_PUSH:
                copies += 1
            elif rule.kind is Kind.DELAY_PUSH:
                delay_s += (rule.delay_ms or 0) / 1000
            else:
                held_s = (rule.delay_ms or _HELD_MS) / 1000
        return Fate(copies, delay_s, held_s)

    def _verdict(self, number: int, rule: FaultRule, identity: str, attempt: int) -> Verdict:
        kind = rule.kind
        if kind in {Kind.LOST_BEFORE, Kind.LOST_AFTER}:
            return Verdict(handled=kind is Kind.LOST_AFTER, answer=Lost())
        if kind in {Kind.SERVER_ERROR_BEFORE, Kind.SERVER_ERROR_AFTER}:
            drawn = self._draw(number, identity, attempt, "status")
            status = rule.status or sorted(_STATUSES)[int(drawn * len(_STATUSES))]
            body = _STATUSES.get(status, b"Server Error")
            return Verdict(handled=kind is Kind.SERVER_ERROR_AFTER, answer=HttpAnswer(status, body))
        if kind is Kind.SYSTEM_ERROR:
            code = rule.code or (10000 if self._draw(number, identity, attempt, "code") < 0.5 else 10016)
            after = self._draw(number, identity, attempt, "after") < 0.5
            return Verdict(handled=after, answer=CodeAnswer(code, _TEXTS[code]))
        if kind is Kind.RATE_LIMITED:
            text = "Too many visits. Exceeded the API Rate Limit."
            return Verdict(handled=False, answer=CodeAnswer(10006, text, rule.duration_ms or _RESET_MS))
        if kind is Kind.ADDRESS_BAN:
            return Verdict(handled=False, answer=banned())
        code = rule.code or 110066
        return Verdict(handled=False, answer=CodeAnswer(code, _TEXTS.get(code, "The system is under maintenance.")))

    def _hit(
        self, subject: Subject, kinds: frozenset[Kind], *, skips: Callable[[FaultRule], bool] = lambda _rule: False
    ) -> Iterator[tuple[int, FaultRule, int]]:
        """Yield the rules of the kinds that hit, with their place and how often the subject was seen; counts them."""
        self._seen[subject.identity] += 1
        attempt = self._seen[subject.identity]
        for number, rule in enumerate(self._rules.rules):
            if rule.kind not in kinds or skips(rule) or not matches(rule, subject):
                continue
            if self._is_used_up(number, rule, subject.identity):
                continue
            if self._draw(number, subject.identity, attempt, "hit") < rule.probability:
                self._count(number, rule, subject.identity)
                yield number, rule, attempt

    def _draw(self, number: int, identity: str, attempt: int, purpose: str) -> float:
        return draw(self._rules.seed, number, identity, attempt, purpose)

    def _is_used_up(self, number: int, rule: FaultRule, identity: str = "") -> bool:
        if rule.limit and self._hits[number] >= rule.limit:
            return True
        return bool(rule.limit_per_request) and self._hits_of[number, identity] >= rule.limit_per_request

    def _count(self, number: int, rule: FaultRule, identity: str) -> None:
        self._hits[number] += 1
        self.injected[rule.kind.value] += 1
        if rule.limit_per_request:
            self._hits_of[number, identity] += 1
        _log.debug("fault_injected", kind=rule.kind.value, rule=number, subject=identity)


def banned() -> HttpAnswer:
    """Return the answer to an address that has asked too often."""
    return HttpAnswer(403, b"403, access too frequent. Please try again later", _BANNED_ON_SOCKET)


def request_subject(path: str, account: str, params: Mapping[str, Any], time_ms: int) -> Subject:
    """Return a request as rules see it: named by account, path and the orders, else the symbols, that it speaks of."""
    batch = params.get("request")
    items: list[Mapping[str, Any]] = [params]
    if isinstance(batch, list):
        items = [item for item in batch if isinstance(item, dict)]
    symbols, links, ids = (_values(items, name) for name in ("symbol", "orderLinkId", "orderId"))
    name = ",".join(links or ids or symbols)
    return Subject(f"{account}{path}/{name}", time_ms, path, account, symbols=symbols, order_link_ids=links)


def _order_subject(action: str, account: str, request: OrderRequest, at_ms: int) -> Subject:
    name = request.order_link_id or request.symbol
    return Subject(
        f"{account}/{action}/{name}",
        at_ms,
        account=account,
        symbols=(request.symbol,),
        order_link_ids=(request.order_link_id,),
    )


def _values(items: list[Mapping[str, Any]], name: str) -> tuple[str, ...]:
    return tuple(str(item[name]) for item in items if item.get(name))


def _trading_only(*, changes: bool) -> Callable[[FaultRule], bool]:
    return lambda rule: rule.kind is Kind.MAINTENANCE and not changes
