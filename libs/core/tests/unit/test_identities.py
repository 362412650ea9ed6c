import re
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Leg, OrderStatus, Side
from breakwater_core.identities import (
    IntentParts,
    intent_id,
    order_event_id,
    order_link_id,
    parse_intent_id,
    partition_of,
    replay_run_id,
)

PARTS: dict[str, Any] = {
    "run_id": "live",
    "account": "main",
    "strategy_version": "0123456789ab",
    "symbol": "BTCUSDT",
    "day": date(2023, 7, 4),
    "leg": Leg.ENTRY,
    "attempt": 1,
}


def test_intent_id_is_readable() -> None:
    assert intent_id(**PARTS) == "live/main/0123456789ab/BTCUSDT/2023-07-04/entry/1"


names = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(names, names, names, names, st.dates(), st.sampled_from(Leg), st.integers(1, 999_999_999))
def test_an_intent_id_is_read_back_into_its_parts(
    run_id: str, account: str, version: str, symbol: str, day: date, leg: Leg, attempt: int
) -> None:
    parts = IntentParts(run_id, account, version, symbol, day, leg, attempt)
    written = intent_id(
        run_id=run_id,
        account=account,
        strategy_version=version,
        symbol=symbol,
        day=day,
        leg=leg,
        attempt=attempt,
    )
    assert parse_intent_id(written) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "live/main/0123456789ab/BTCUSDT/2023-07-04/entry",
        "live/main/0123456789ab/BTCUSDT/2023-07-04/entry/1/2",
        "live/main/0123456789ab/BTCUSDT/2023-07-04/entry/0",
        "live/main/0123456789ab/BTCUSDT/2023-07-04/entry/01",
        "live/main/0123456789ab/BTCUSDT/20230704/entry/1",
        "live/main/0123456789ab/BTCUSDT/2023-07-32/entry/1",
        "live/main/0123456789ab/BTCUSDT/2023-07-04/leave/1",
        "live//0123456789ab/BTCUSDT/2023-07-04/entry/1",
    ],
)
def test_what_is_no_intent_id_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not an intent id"):
        parse_intent_id(text)


@pytest.mark.parametrize(
    "change", [{"attempt": 0}, {"account": ""}, {"symbol": "BTC/USDT"}, {"run_id": "a.b"}, {"account": "x" * 65}]
)
def test_parts_that_do_not_fit_into_ids_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        intent_id(**PARTS | change)


def test_every_part_makes_another_intent() -> None:
    changes = [
        {"run_id": "replay-1"},
        {"account": "second"},
        {"strategy_version": "ba9876543210"},
        {"symbol": "ETHUSDT"},
        {"day": date(2023, 7, 5)},
        {"leg": Leg.EXIT},
        {"attempt": 2},
        {},
    ]
    assert len({intent_id(**PARTS | change) for change in changes}) == len(changes)


@given(st.text(min_size=1), st.integers(0, 1000))
def test_order_link_ids_fit_the_exchanges_rule_and_depend_on_the_child(intent: str, child: int) -> None:
    link = order_link_id(intent, child)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,36}", link)
    assert link == order_link_id(intent, child)
    assert link != order_link_id(intent, child + 1)


def test_order_link_id_never_changes_between_versions() -> None:
    intent = "live/main/0123456789ab/BTCUSDT/2023-07-04/entry/1"
    assert order_link_id(intent, 0) == "bw-e8ca3c85969244f11aa873eb6d12fac1"


def test_order_event_id_tells_states_apart() -> None:
    usual = {"intent": "i", "child": 0, "status": OrderStatus.FILLED, "filled_quantity": "1", "closed": True}
    assert order_event_id(**usual) == "i#0/filled/1/closed"
    assert order_event_id(**usual | {"closed": False}) == "i#0/filled/1/open"


@given(st.text(max_size=20), st.text(max_size=20), st.integers(1, 64))
def test_partitions_are_stable_and_in_range(account: str, symbol: str, partitions: int) -> None:
    partition = partition_of(account, symbol, partitions)
    assert 0 <= partition < partitions
    assert partition == partition_of(account, symbol, partitions)


def test_ten_symbols_spread_over_the_partitions() -> None:
    assert len({partition_of("main", f"S{number}USDT", 8) for number in range(50)}) == 8


def test_replay_id_names_recording_range_and_configuration() -> None:
    usual: dict[str, Any] = {
        "fingerprint": "f",
        "strategy_version": "v",
        "first_day": date(2023, 7, 4),
        "last_day": date(2023, 7, 5),
    }
    other = replay_run_id(**usual | {"last_day": date(2023, 7, 6)})
    assert re.fullmatch(r"replay-[0-9a-f]{16}", replay_run_id(**usual))
    assert replay_run_id(**usual) != other


def test_sides_and_legs_know_what_they_are() -> None:
    assert (Side.BUY.sign, Side.SELL.sign, Side.BUY.opposite, Side.SELL.opposite) == (1, -1, Side.SELL, Side.BUY)
    assert [leg.reduces for leg in Leg] == [False, True, True, True]
    assert [status.value for status in OrderStatus if not status.has_order] == ["refused", "expired", "flat"]
