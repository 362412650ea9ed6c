"""Fault rules: what may be written, and that chance is a function of the seed and the subject."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from paper_exchange_service.fault_rules import FaultRule, Kind, Subject, draw, matches, parse_rules

NOW_MS = 1_700_000_000_000


def parsed(*rules: dict[str, object], now_ms: int = NOW_MS) -> tuple[FaultRule, ...]:
    return parse_rules(json.dumps({"seed": 3, "rules": rules}), now_ms).rules


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"kind": "earthquake"}, r"rules\[0\].kind: "),
        ({"kind": "lost_after", "probability": 1.5}, r"rules\[0\].probability: "),
        ({"kind": "lost_after", "chance": 0.5}, r"rules\[0\].chance: "),
        ({"kind": "lost_after", "limit": -1}, r"rules\[0\].limit: "),
        ({"kind": "latency"}, r"rules\[0\].delay_ms: latency needs it"),
        ({"kind": "latency", "delay_ms": -5}, r"rules\[0\].delay_ms: must be above 0"),
        ({"kind": "clock_skew", "delay_ms": 0}, r"rules\[0\].delay_ms: must be above 0"),
        ({"kind": "clock_skew", "delay_ms": 5, "probability": 1}, r"rules\[0\].probability: clock_skew does not"),
        ({"kind": "address_ban"}, r"rules\[0\].duration_ms: address_ban needs it"),
        ({"kind": "duplicate_push", "path": "/v5"}, r"rules\[0\].path: duplicate_push does not take it"),
        ({"kind": "partial_fill", "share": "1"}, r"rules\[0\].share: "),
        ({"kind": "system_error", "code": 10006}, r"rules\[0\].code: must be 10000 or 10016"),
        ({"kind": "server_error_after", "status": 404}, r"rules\[0\].status: "),
        ({"kind": "reject_order", "asynchronous": True, "code": 110007}, r"rules\[0\].code: "),
        ({"kind": "lost_after", "from_ms": 5, "until_ms": 5}, r"rules\[0\].until_ms: must be after"),
        ({"kind": "maintenance", "duration_ms": 5, "until_ms": 5}, r"rules\[0\].until_ms: give it or duration_ms"),
    ],
)
def test_a_bad_rule_is_one_line_that_names_its_field(rule: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{field}") as caught:
        parsed(rule)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"seed": "x"}', '{"rule": []}', '{"rules": {}}'])
def test_what_is_no_list_of_rules_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_rules(text, NOW_MS)


def test_a_state_with_a_duration_begins_now_or_when_it_says_so() -> None:
    now, later = parsed(
        {"kind": "suspend_symbol", "duration_ms": 60_000}, {"kind": "maintenance", "from_ms": 7, "duration_ms": 3}
    )
    assert (now.from_ms, now.until_ms) == (NOW_MS, NOW_MS + 60_000)
    assert (later.from_ms, later.until_ms) == (7, 10)
    with pytest.raises(InvalidInputError, match=r"rules\[0\].from_ms: is needed"):
        parsed({"kind": "suspend_symbol", "duration_ms": 60_000}, now_ms=0)


def test_every_filter_narrows_a_rule() -> None:
    subject = Subject("x", 100, "/v5/order/create", "main", "order", ("BTCUSDT",), ("bw-1",))
    fitting = {
        "path": "/v5/order",
        "account": "main",
        "symbol": "BTCUSDT",
        "order_link_id": "bw-",
        "topic": "ord",
        "from_ms": 100,
        "until_ms": 101,
    }
    other = {
        "path": "/v5/position",
        "account": "second",
        "symbol": "ETHUSDT",
        "order_link_id": "zz",
        "topic": "wallet",
        "from_ms": 101,
        "until_ms": 100,
    }
    assert matches(FaultRule(kind=Kind.LOST_AFTER, **fitting), subject)
    for name, value in other.items():
        assert not matches(FaultRule(kind=Kind.LOST_AFTER, **{name: value}), subject), name


@given(st.integers(), st.integers(0, 99), st.text(max_size=40), st.integers(1, 9))
def test_a_draw_is_a_number_below_one_that_the_arguments_fix(
    seed: int, number: int, identity: str, attempt: int
) -> None:
    drawn = draw(seed, number, identity, attempt)
    assert 0 <= drawn < 1
    assert drawn == draw(seed, number, identity, attempt)


def test_draws_spread_evenly() -> None:
    drawn = [draw(1, 0, f"main/v5/order/create/bw-{number}", 1) for number in range(4_000)]
    assert [round(sum(value < edge for value in drawn) / 4_000, 1) for edge in (0.1, 0.5, 0.9)] == [0.1, 0.5, 0.9]


def test_a_share_is_read_as_a_decimal() -> None:
    assert parsed({"kind": "partial_fill", "share": 0.25})[0].share == Decimal("0.25")
