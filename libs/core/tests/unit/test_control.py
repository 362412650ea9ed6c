"""The control document: what it lets through, and that no interleaving gets an entry past a halt made after it."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.control import EVERY_ACCOUNT, Control, FlattenOrder, Gate
from breakwater_core.errors import InvalidInputError, InvariantError

ACCOUNTS = ("main", "second")


def test_a_missing_document_lets_every_entry_through() -> None:
    control = Control.decode(b"")
    assert control == Control()
    assert control.refusal("main", 0) is None


def test_a_halt_refuses_entries_of_every_account_and_says_why() -> None:
    control = Control().halt(reason="exchange is slow")
    refusal = control.refusal("main", 1)
    assert refusal is not None
    assert refusal.rule == "halted"
    assert "exchange is slow" in refusal.detail


def test_after_a_resume_only_entries_from_before_the_halt_are_refused() -> None:
    control = Control().halt().resume()
    refusal = control.refusal("main", 0)
    assert refusal is not None
    assert refusal.rule == "fenced"
    assert control.refusal("main", 1) is None


def test_a_halt_of_one_account_leaves_the_others_alone() -> None:
    control = Control().halt("main")
    assert control.is_halted("main")
    assert control.refusal("second", 0) is None


def test_the_end_of_the_halt_over_all_does_not_end_that_of_one_account() -> None:
    control = Control().halt("main").halt().resume()
    assert control.is_halted("main")
    assert not control.is_halted("second")


def test_a_flatten_halts_under_its_epoch_and_ends_with_the_resume() -> None:
    control = Control().halt().flattened("main", at_ms=5)
    assert control.flatten == (FlattenOrder(2, "main", 5),)
    assert control.is_halted("main")
    assert control.flatten_order("second") is None
    assert control.resume("main").flatten == ()


def test_the_newest_flatten_of_an_account_counts_and_one_of_all_is_everybodys() -> None:
    control = Control().flattened("main", at_ms=1).flattened(at_ms=2).flattened("main", at_ms=3)
    assert control.flatten_order("main") == FlattenOrder(3, "main", 3)
    assert control.flatten_order("second") == FlattenOrder(2, EVERY_ACCOUNT, 2)
    assert len(control.flatten) == 2


def test_the_document_has_the_documented_shape() -> None:
    control = Control().halt("main").resume("main").flattened("main", at_ms=9)
    assert json.loads(control.encode()) == {
        "epoch": 2,
        "halted": False,
        "fence": 0,
        "accounts": {"main": {"halted": True, "fence": 2}},
        "flatten": [{"epoch": 2, "account": "main", "at_ms": 9}],
    }


def test_a_gate_without_a_fence_fences_off_everything_before_the_documents_epoch() -> None:
    control = Control.decode(b'{"epoch": 3, "halted": false}')
    assert control.everyone == Gate(fence=3)


@pytest.mark.parametrize(
    "payload",
    [
        b"halt!",
        b"{}",
        b"[]",
        b'{"epoch": -1, "halted": true}',
        b'{"epoch": 1, "halted": "no"}',
        b'{"epoch": 1, "halted": false, "fence": 2}',
        b'{"epoch": 1, "halted": false, "accounts": {"a b": {"halted": true}}}',
        b'{"epoch": 1, "halted": false, "flatten": [{"epoch": 2, "account": "main"}]}',
    ],
)
def test_what_is_no_such_document_is_not_guessed_at(payload: bytes) -> None:
    with pytest.raises(InvariantError, match="control document"):
        Control.decode(payload)


def test_a_name_that_no_account_can_have_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="account"):
        Control().halt("*")
    with pytest.raises(InvalidInputError, match="reason"):
        Control().halt(reason="x" * 201)


CHANGES = st.lists(
    st.tuples(st.sampled_from(["halt", "resume", "flatten"]), st.sampled_from([None, *ACCOUNTS])), max_size=12
)


def changed(control: Control, change: tuple[str, str | None]) -> Control:
    name, account = change
    if name == "halt":
        return control.halt(account)
    return control.resume(account) if name == "resume" else control.flattened(account, at_ms=1)


@given(CHANGES)
def test_every_state_survives_its_document_and_the_epoch_only_grows(changes: list[tuple[str, str | None]]) -> None:
    control = Control()
    for change in changes:
        after = changed(control, change)
        assert after.epoch == control.epoch + (change[0] != "resume")
        assert all(after.fence(account) >= control.fence(account) for account in ACCOUNTS)
        assert Control.decode(after.encode()) == after
        control = after


WINDOW = 3
"""Steps for which the exchange accepts a request after its stamp."""


@dataclass
class Sent:
    """One entry on its way through a process: when it was decided, stamped, let through."""

    account: str
    epoch: int
    decided: int
    stamped: int | None = None
    permitted: bool = False


@dataclass
class Model:
    """Signals that lag, executors that are held up anywhere, and people who halt and resume; time is a step count."""

    control: Control = field(default_factory=Control)
    now: int = 0
    seen: int = 0
    entries: list[Sent] = field(default_factory=list)
    halts: list[tuple[int, str | None]] = field(default_factory=list)
    executed: list[tuple[Sent, int]] = field(default_factory=list)

    def step(self, name: str, number: int, account: str | None) -> None:
        self.now += 1
        entry = self.entries[number % len(self.entries)] if self.entries else None
        if name in {"halt", "resume", "flatten"}:
            self.control = changed(self.control, (name, account))
            if name != "resume":
                self.halts.append((self.now, account))
        elif name == "signal sees":
            self.seen = self.control.epoch
        elif name == "decide":
            self.entries.append(Sent(account or "main", self.seen, self.now))
        elif entry is not None and name == "stamp":
            entry.stamped, entry.permitted = self.now, False
        elif entry is not None and name == "ask" and entry.stamped is not None:
            entry.permitted = self.control.refusal(entry.account, entry.epoch) is None
        elif entry is not None and name == "send" and entry.permitted and entry.stamped is not None:
            if self.now - entry.stamped <= WINDOW:
                self.executed.append((entry, self.now))
            entry.stamped, entry.permitted = None, False


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["halt", "resume", "flatten", "signal sees", "decide", "stamp", "ask", "send"]),
        st.integers(0, 5),
        st.sampled_from([None, *ACCOUNTS]),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_interleaving_executes_an_entry_that_was_decided_before_a_halt_once_the_window_has_passed(
    steps: list[tuple[str, int, str | None]],
) -> None:
    model = Model()
    for name, number, account in steps:
        model.step(name, number, account)
    for entry, executed_at in model.executed:
        for halted_at, account in model.halts:
            if account in {None, entry.account} and entry.decided < halted_at:
                assert executed_at <= halted_at + WINDOW
