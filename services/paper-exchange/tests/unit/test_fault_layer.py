"""The fault layer against a real gateway and engine: books stay true, hits do not depend on the order of arrival."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater_core.events import Side
from paper_exchange_service.control import books
from paper_exchange_service.engine.accounts import Credentials
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.engine.orders import Status
from paper_exchange_service.fault_layer import FaultLayer, request_subject
from paper_exchange_service.fault_rules import FaultRules, parse_rules
from paper_exchange_service.faults import AS_USUAL, PLAIN, CodeAnswer, HttpAnswer, Lost, Verdict
from paper_exchange_service.gateway import ENDPOINTS, Gateway
from paper_exchange_service.rate_limits import RateLimits
from paper_exchange_service.venue import ReplayVenue

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
CREATE = ("POST", "/v5/order/create")
START_MS = 1_700_000_000_000
END_MS = START_MS + 600_000


def rules_of(*rules: dict[str, Any], seed: int = 1) -> FaultRules:
    return parse_rules(json.dumps({"seed": seed, "rules": rules}), START_MS)


@dataclass
class Desk:
    """An exchange in replay with everything but the wires."""

    gateway: Gateway
    answers: list[tuple[str, Verdict, int]] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        return self.gateway.venue.engine

    async def send(self, link: str, symbol: str, side: str, quantity: str, at_ms: int) -> Verdict:
        params = {
            "category": "linear",
            "symbol": symbol,
            "side": side,
            "orderType": "Market",
            "qty": quantity,
            "orderLinkId": link,
        }
        account = self.engine.accounts["main"]
        verdict = self.gateway.judge(CREATE, params, account, "10.0.0.1", at_ms)
        code = -1
        if verdict.handled:
            code = (await self.gateway.answer(ENDPOINTS[CREATE], params, account, at_ms)).code
        self.answers.append((link, verdict, code))
        return verdict


def make_desk(tools: SimpleNamespace, rules: FaultRules) -> Desk:
    layer = FaultLayer(rules=rules)
    engine = Engine(
        Costs(slippage_ratio=Decimal("0.0001"), latency_ms=50, depth_notional=Decimal(4_000)),
        instruments=[tools.instrument(symbol) for symbol in SYMBOLS],
        order_faults=layer,
    )
    engine.add_account("main", Credentials("key", "secret"), Decimal(100_000), 0)
    venue = ReplayVenue(engine)
    for number, symbol in enumerate(SYMBOLS):
        trades = [(START_MS + step * 5_000, 1_000.0 * (number + 1) + (step * 7 + number) % 40) for step in range(120)]
        venue.feed_trades(tools.batch(symbol, trades))
    venue.feed_clock(END_MS, START_MS + 1)
    return Desk(Gateway(venue, RateLimits(enforced=False), layer))


CHANCE = st.sampled_from([0.2, 0.5, 1.0])
FILTER = st.fixed_dictionaries(
    {"probability": CHANCE},
    optional={
        "symbol": st.sampled_from(SYMBOLS),
        "order_link_id": st.sampled_from(["BTC", "ETH"]),
        "limit_per_request": st.integers(1, 2),
        "from_ms": st.just(START_MS + 100_000),
        "until_ms": st.just(START_MS + 400_000),
    },
)
KIND = st.sampled_from(
    [
        {"kind": "latency", "delay_ms": 5},
        {"kind": "lost_before"},
        {"kind": "lost_after"},
        {"kind": "server_error_before"},
        {"kind": "server_error_after"},
        {"kind": "system_error"},
        {"kind": "rate_limited"},
        {"kind": "maintenance"},
        {"kind": "reject_order"},
        {"kind": "reject_order", "asynchronous": True},
        {"kind": "suspend_symbol"},
        {"kind": "partial_fill"},
        {"kind": "partial_fill", "share": "0.5"},
        {"kind": "unfilled_ioc"},
    ]
)
RULES = st.builds(
    lambda seed, rules: rules_of(*({**given_filter, **kind} for kind, given_filter in rules), seed=seed),
    st.integers(0, 1_000),
    st.lists(st.tuples(KIND, FILTER), max_size=4),
)
ORDER = st.tuples(
    st.sampled_from(SYMBOLS), st.integers(0, 3), st.sampled_from(["Buy", "Sell"]), st.sampled_from(["0.001", "2", "9"])
)


SHARED = [HealthCheck.function_scoped_fixture]
"""The makers of engines hold nothing that one example could leave to the next."""


def play(desk: Desk, orders: Iterable[tuple[str, int, str, str, int]]) -> None:
    async def run() -> None:
        for symbol, number, side, quantity, at_ms in orders:
            await desk.send(f"{symbol[:3]}-{number}", symbol, side, quantity, at_ms)

    asyncio.run(run())


def timed(orders: Sequence[tuple[str, int, str, str]]) -> list[tuple[str, int, str, str, int]]:
    return [(*order, START_MS + 10_000 + place * 7_000) for place, order in enumerate(orders)]


@settings(max_examples=60, deadline=None, suppress_health_check=SHARED)
@given(rules=RULES, orders=st.lists(ORDER, max_size=25))
def test_faults_lose_nothing_of_the_books_and_double_nothing(
    tools: SimpleNamespace, rules: FaultRules, orders: list[tuple[str, int, str, str]]
) -> None:
    desk = make_desk(tools, rules)
    play(desk, timed(orders))
    account = desk.engine.accounts["main"]
    assert account.wallet == account.deposits + account.realised - account.fees + account.funding
    for symbol in SYMBOLS:
        fills = [fill for fill in account.executions if fill.symbol == symbol]
        net = sum((fill.quantity * (1 if fill.side is Side.BUY else -1) for fill in fills), Decimal(0))
        assert account.position(symbol, 0).size == net
    assert sum((fill.fee for fill in account.executions), Decimal(0)) == account.fees
    assert account.order_margin == 0
    made = Counter(order.link_id for order in account.order_log)
    assert set(made.values()) <= {1}
    for order in account.order_log:
        assert order.filled == sum((fill.quantity for fill in order.executions), Decimal(0))
        assert not order.status.is_open
        if order.status is Status.REJECTED:
            assert not order.filled
    accepted = {link for link, verdict, code in desk.answers if verdict.handled and code == 0}
    assert set(made) == accepted, "what was not handled left no order, what was accepted left one"


@settings(max_examples=40, deadline=None, suppress_health_check=SHARED)
@given(rules=RULES, orders=st.lists(ORDER, max_size=20), turn=st.permutations(SYMBOLS))
def test_the_order_in_which_symbols_arrive_changes_no_hit_and_no_book(
    tools: SimpleNamespace, rules: FaultRules, orders: list[tuple[str, int, str, str]], turn: list[str]
) -> None:
    sent = timed(orders)
    first, second = make_desk(tools, rules), make_desk(tools, rules)
    play(first, sent)
    play(second, [order for symbol in turn for order in sent if order[0] == symbol])
    by_link = [
        {link: [answer for answer in desk.answers if answer[0] == link] for link, _, _ in desk.answers}
        for desk in (first, second)
    ]
    assert by_link[0] == by_link[1]
    assert first.gateway.faults.state() == second.gateway.faults.state()
    assert books_of(first) == books_of(second)


def books_of(desk: Desk) -> dict[str, Any]:
    found = books(desk.engine, desk.gateway.limits, desk.gateway.faults, END_MS - 1)
    return {name: value for name, value in found.items() if name != "request_rates"}


@settings(max_examples=15, deadline=None, suppress_health_check=SHARED)
@given(rules=RULES, orders=st.lists(ORDER, max_size=15))
def test_rules_that_never_hit_change_nothing(
    tools: SimpleNamespace, rules: FaultRules, orders: list[tuple[str, int, str, str]]
) -> None:
    never = FaultRules(
        seed=rules.seed, rules=tuple(rule.model_copy(update={"probability": 0.0}) for rule in rules.rules)
    )
    without, with_rules = make_desk(tools, FaultRules()), make_desk(tools, never)
    play(without, timed(orders))
    play(with_rules, timed(orders))
    assert with_rules.answers == without.answers
    assert {verdict for _, verdict, _ in without.answers} <= {AS_USUAL}
    assert books_of(with_rules) == books_of(without)


def judged(layer: FaultLayer, link: str = "bw-1", path: str = "/v5/order/create", **params: str) -> Verdict:
    subject = request_subject(path, "main", {"symbol": "BTCUSDT", "orderLinkId": link, **params}, START_MS)
    return layer.of_request(subject, "POST", "10.0.0.1", changes=True, now_ms=1_000)


def test_the_limit_ends_a_rule_and_the_limit_per_request_lets_a_retry_through() -> None:
    layer = FaultLayer(rules=rules_of({"kind": "lost_before", "limit": 3}))
    assert sum(judged(layer, f"bw-{number}") != AS_USUAL for number in range(10)) == 3
    layer.set_rules(rules_of({"kind": "lost_before", "limit_per_request": 2}))
    for link in ("bw-1", "bw-2"):
        assert [judged(layer, link).handled for _ in range(4)] == [False, False, True, True]


def test_the_first_rule_that_hits_decides_and_delays_add_up() -> None:
    slow = {"kind": "latency", "delay_ms": 200}
    layer = FaultLayer(rules=rules_of(slow, slow, {"kind": "lost_after"}, {"kind": "rate_limited"}, slow))
    assert judged(layer) == Verdict(answer=Lost(), delay_s=0.4)
    assert layer.state()["hits"] == {"latency": 2, "lost_after": 1, "rate_limited": 0}


def test_another_seed_hits_other_orders() -> None:
    def hit(seed: int) -> list[bool]:
        layer = FaultLayer(rules=rules_of({"kind": "lost_after", "probability": 0.5}, seed=seed))
        return [judged(layer, f"bw-{number}") != AS_USUAL for number in range(64)]

    assert hit(1) == hit(1) != hit(2)
    assert 20 < sum(hit(1)) < 44


def test_server_errors_show_every_status_unless_one_is_named() -> None:
    layer = FaultLayer(rules=rules_of({"kind": "server_error_before"}))
    answers = [judged(layer, f"bw-{number}").answer for number in range(64)]
    assert {answer.status for answer in answers if isinstance(answer, HttpAnswer)} == {500, 502, 503, 504}
    layer.set_rules(rules_of({"kind": "server_error_after", "status": 504}))
    assert judged(layer).answer == HttpAnswer(504, b"Gateway Timeout")


def test_a_system_error_comes_before_or_after_with_either_code() -> None:
    layer = FaultLayer(rules=rules_of({"kind": "system_error"}))
    seen = {(judged(layer, f"bw-{number}")) for number in range(64)}
    codes = {(verdict.handled, verdict.answer.code) for verdict in seen if isinstance(verdict.answer, CodeAnswer)}
    assert codes == {(True, 10000), (True, 10016), (False, 10000), (False, 10016)}


def test_maintenance_refuses_what_changes_something_and_answers_questions() -> None:
    layer = FaultLayer(rules=rules_of({"kind": "maintenance"}))
    subject = request_subject("/v5/order/realtime", "main", {}, START_MS)
    assert layer.of_request(subject, "GET", "10.0.0.1", changes=False, now_ms=0) == AS_USUAL
    assert not judged(layer).handled


def test_a_ban_refuses_the_address_for_its_duration_and_no_other() -> None:
    layer = FaultLayer(rules=rules_of({"kind": "address_ban", "duration_ms": 500, "limit": 1}))
    assert isinstance(judged(layer).answer, HttpAnswer)
    assert [layer.is_banned("10.0.0.1", now_ms) for now_ms in (1_000, 1_499, 1_500)] == [True, True, False]
    assert not layer.is_banned("10.0.0.2", 1_000)
    assert (layer.injected["address_ban"], layer.banned_requests) == (1, 2)


def test_a_suspension_shows_until_its_time_or_its_limit_is_over(tools: SimpleNamespace) -> None:
    desk = make_desk(tools, rules_of({"kind": "suspend_symbol", "symbol": "BTCUSDT", "duration_ms": 9, "limit": 1}))
    layer = desk.gateway.faults
    assert [layer.is_suspended("BTCUSDT", START_MS + offset) for offset in (-1, 0, 8, 9)] == [False, True, True, False]
    assert not layer.is_suspended("ETHUSDT", START_MS)
    play(desk, [("BTCUSDT", 1, "Buy", "2", START_MS + 5)])
    assert not layer.is_suspended("BTCUSDT", START_MS)


def test_a_used_id_is_told_as_such_whatever_else_would_refuse_the_order(tools: SimpleNamespace) -> None:
    desk = make_desk(tools, rules_of())
    play(desk, [("BTCUSDT", 1, "Buy", "2", START_MS + 5)])
    desk.gateway.faults.set_rules(rules_of({"kind": "reject_order"}))
    play(desk, [("BTCUSDT", 1, "Buy", "2", START_MS + 6), ("BTCUSDT", 2, "Buy", "2", START_MS + 6)])
    assert [code for _, _, code in desk.answers] == [0, 110072, 110007]


def test_a_share_is_filled_on_the_step_and_the_rest_is_cancelled(tools: SimpleNamespace) -> None:
    desk = make_desk(tools, rules_of({"kind": "partial_fill", "share": "0.7"}))
    play(desk, [("BTCUSDT", 1, "Buy", "9", START_MS + 5), ("BTCUSDT", 2, "Buy", "0.005", START_MS + 6)])
    orders = {order.link_id: order for order in desk.engine.accounts["main"].order_log}
    assert [(order.status, order.filled) for order in orders.values()] == [
        (Status.CANCELLED, Decimal("6.3")),
        (Status.CANCELLED, Decimal("0.003")),
    ]
    assert {(order.reject_reason, order.cancel_type) for order in orders.values()} == {
        ("EC_NoImmediateQtyToFill", "UNKNOWN")
    }


def test_each_item_of_a_batch_meets_its_own_refusal(tools: SimpleNamespace) -> None:
    desk = make_desk(tools, rules_of({"kind": "reject_order", "order_link_id": "bad"}))
    item = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "2"}
    params = {"category": "linear", "request": [item | {"orderLinkId": "good"}, item | {"orderLinkId": "bad"}]}
    route = ("POST", "/v5/order/create-batch")
    account = desk.engine.accounts["main"]
    reply = asyncio.run(desk.gateway.answer(ENDPOINTS[route], params, account, START_MS + 5))
    assert [row["code"] for row in reply.extra["list"]] == [0, 110007]


FRAME = {"topic": "order", "creationTime": START_MS, "data": [{"symbol": "BTCUSDT", "orderId": "1"}]}


def test_frames_are_doubled_delayed_held_or_lost_with_their_socket() -> None:
    layer = FaultLayer(rules=rules_of({"kind": "duplicate_push"}, {"kind": "delay_push", "delay_ms": 40}))
    ((_, fate),) = layer.of_frame("main", "order", FRAME)
    assert (fate.copies, fate.delay_s, fate.held_s, fate.drops) == (2, 0.04, None, False)
    layer.set_rules(rules_of({"kind": "reorder_push", "topic": "order", "limit": 1}))
    assert [layer.of_frame("main", topic, FRAME)[0][1].held_s for topic in ("wallet", "order", "order")] == [
        None,
        0.2,
        None,
    ]
    layer.set_rules(rules_of({"kind": "private_drop", "account": "second"}))
    assert layer.of_frame("main", "order", FRAME) == [(FRAME, PLAIN)]
    assert layer.of_frame("second", "order", FRAME)[0][1].drops


def test_whether_a_frame_is_hit_depends_on_what_it_says_and_not_on_those_before() -> None:
    frames = [FRAME | {"creationTime": START_MS + number} for number in range(40)]

    def hits(order: Sequence[int]) -> dict[int, bool]:
        layer = FaultLayer(rules=rules_of({"kind": "duplicate_push", "probability": 0.5}))
        return {number: layer.of_frame("main", "order", frames[number])[0][1].copies == 2 for number in order}

    assert hits(range(40)) == hits(range(39, -1, -1))


def test_new_rules_begin_their_counts_anew_and_the_books_keep_the_sum() -> None:
    layer = FaultLayer(rules=rules_of({"kind": "lost_before"}))
    judged(layer)
    layer.set_rules(rules_of({"kind": "lost_before"}))
    judged(layer)
    assert (layer.state()["total"], layer.injected["lost_before"]) == (1, 2)


def test_a_refusal_of_the_engine_carries_the_code_of_the_rule(tools: SimpleNamespace) -> None:
    desk = make_desk(tools, rules_of({"kind": "reject_order", "code": 110004}))
    play(desk, [("BTCUSDT", 1, "Buy", "2", START_MS + 5)])
    assert [code for _, _, code in desk.answers] == [110004]
