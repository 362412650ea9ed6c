"""What executors answer to a halt and to a flatten, and what may be concluded from it."""

from decimal import Decimal
from typing import Any

import pytest

from breakwater_core.control_answers import (
    LIVE_FOR_MS,
    Acknowledgement,
    FlatProof,
    Heard,
    entries_may_come,
    live,
)
from breakwater_core.errors import InvariantError

NOW = 1_700_000_000_000


def heard(instance: str, *, age_ms: int = 0, **changes: Any) -> Heard:
    values: dict[str, Any] = {"process": "p", "run_id": "live", "epoch": 3, "accounts": ("main",)} | changes
    return Heard(Acknowledgement(instance=instance, **values), NOW - age_ms)


def obstacle(*known: Heard, is_late: bool = False) -> str:
    return entries_may_come(known, run_id="live", account="main", epoch=3, is_late=is_late)


def test_answers_survive_their_json() -> None:
    acknowledgement = heard("a", unsettled={"main": 2}).acknowledgement
    assert Acknowledgement.decode(acknowledgement.encode()) == acknowledgement
    proof = FlatProof("live", "main", 3, {"BTCUSDT": Decimal(0)}, 0, NOW, "executor-1")
    assert FlatProof.decode(proof.encode()) == proof


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"7", b'{"instance": "a"}'])
def test_what_is_no_answer_is_refused(payload: bytes) -> None:
    with pytest.raises(InvariantError):
        Acknowledgement.decode(payload)
    with pytest.raises(InvariantError):
        FlatProof.decode(payload)


def test_a_process_that_is_silent_for_too_long_is_gone() -> None:
    known = [heard("a"), heard("b", age_ms=LIVE_FOR_MS), heard("c", age_ms=LIVE_FOR_MS + 1)]
    assert [one.instance for one in live(known)] == ["a", "b"]
    assert [one.instance for one in live(known, at_ms=NOW + LIVE_FOR_MS)] == ["a"]


def test_no_entry_can_come_once_everybody_has_acknowledged() -> None:
    assert obstacle(heard("a"), heard("b", epoch=4)) == ""


def test_a_process_that_has_not_acknowledged_is_waited_for_until_the_window_has_passed() -> None:
    assert "b" in obstacle(heard("a"), heard("b", epoch=2))
    assert obstacle(heard("a"), heard("b", epoch=2), is_late=True) == ""


def test_an_entry_whose_end_is_not_known_is_waited_for_however_late_it_is() -> None:
    assert obstacle(heard("a", unsettled={"main": 1}), is_late=True)
    assert obstacle(heard("a", unsettled={"second": 1})) == ""


def test_processes_of_another_run_or_account_do_not_count() -> None:
    assert obstacle(heard("a", run_id="replay-1", epoch=0), heard("b", accounts=("second",), epoch=0)) == ""
