"""One shared limit under any interleaving of processes: late and lost messages, kills, stops, clocks that differ."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from breakwater_bybit.budget import USE_MS, Priority, most_of
from breakwater_bybit.budget_window import (
    FLIGHT_MS,
    HOLD_MS,
    MARGIN_MS,
    PATIENCE_MS,
    POOL_MS,
    BudgetWindow,
    Proposal,
    Slot,
)

LENGTH_MS = 1_000
LIMIT = 10


@dataclass
class Store:
    payload: bytes | None = None
    revision: int = 0

    def write(self, payload: bytes, revision: int) -> int | None:
        if revision != self.revision:
            return None
        self.payload, self.revision = payload, self.revision + 1
        return self.revision


@dataclass
class Request:
    slot: Slot
    arrives_ms: int


@dataclass
class Process:
    """One process: its own clock, what it has asked for, what it has taken, sent and not heard of."""

    view: BudgetWindow
    skew_ms: int
    proposal: Proposal | None = None
    inbox: tuple[bytes | None, int] | None = None
    taken: list[Slot] = field(default_factory=list)
    flying: list[Request] = field(default_factory=list)

    def now(self, now_ms: int) -> int:
        return now_ms + self.skew_ms


class World:
    """Processes, the store and the exchange, with a time of their own."""

    def __init__(self, skews_ms: list[int]) -> None:
        self.now_ms = 0
        self.store = Store()
        self.arrivals: list[int] = []
        self.counter = 0
        self.processes = [self.start(skew) for skew in skews_ms]

    def start(self, skew_ms: int) -> Process:
        self.counter += 1
        return Process(BudgetWindow(LENGTH_MS, LIMIT, f"p{self.counter}"), skew_ms)

    def step(self, number: int, action: str, amount: int) -> None:
        process = self.processes[number % len(self.processes)]
        getattr(self, action)(process, amount)

    def propose(self, process: Process, amount: int) -> None:
        priority = list(Priority)[amount % 3]
        wanted, blocked = {priority: 1 + amount % 12}, {Priority.ENTRY: amount % 5}
        process.proposal = process.view.propose(wanted, process.now(self.now_ms), blocked=blocked)

    def write(self, process: Process, _amount: int) -> None:
        proposal, process.proposal = process.proposal, None
        if proposal is not None:
            revision = self.store.write(proposal.payload, proposal.revision)
            if revision is None:
                process.view.receive(self.store.payload, self.store.revision, process.now(self.now_ms), is_asked=True)
            else:
                process.view.accept(proposal, revision)

    def write_unheard(self, process: Process, _amount: int) -> None:
        proposal, process.proposal = process.proposal, None
        if proposal is not None:
            self.store.write(proposal.payload, proposal.revision)

    def push(self, process: Process, _amount: int) -> None:
        process.inbox = (self.store.payload, self.store.revision)

    def receive(self, process: Process, _amount: int) -> None:
        if process.inbox is not None:
            process.view.receive(*process.inbox, process.now(self.now_ms))

    def take(self, process: Process, amount: int) -> None:
        slot = process.view.take(list(Priority)[amount % 3], process.now(self.now_ms))
        if slot is not None:
            process.taken.append(slot)

    def send(self, process: Process, amount: int) -> None:
        if process.taken:
            slot = process.taken.pop()
            if process.now(self.now_ms) <= slot.until_ms:
                arrives_ms = self.now_ms + amount * FLIGHT_MS // 20
                self.arrivals.append(arrives_ms)
                process.flying.append(Request(slot, arrives_ms))

    def answer(self, process: Process, _amount: int) -> None:
        for request in [request for request in process.flying if request.arrives_ms <= self.now_ms]:
            process.flying.remove(request)
            process.view.answered(request.slot, process.now(self.now_ms))

    def use(self, process: Process, amount: int) -> None:
        """Read, ask, get and send in one go, as an undisturbed process does."""
        process.view.receive(self.store.payload, self.store.revision, process.now(self.now_ms))
        self.propose(process, amount)
        self.write(process, amount)
        for _ in range(1 + amount % 12):
            self.take(process, amount)
            self.send(process, amount)

    def kill(self, process: Process, amount: int) -> None:
        self.processes[self.processes.index(process)] = self.start(amount * 100_000)


ACTIONS = (
    *("use", "use", "use", "answer", "answer", "propose", "write", "write_unheard"),
    *("push", "receive", "take", "send", "kill"),
)
LATE = [
    *[(0, "propose", 9, 0), (0, "write", 0, 0), (1, "push", 0, 0), (1, "receive", 0, 0)],
    *[(0, "take", 0, 0)] * 10,
    *[(0, "send", 20, 50)] * 10,
    (1, "use", 9, LENGTH_MS),
]
"""Sent late, on their way for long: when others may think that the window is over, they have just arrived."""
HELD = [
    *[(0, "propose", 9, 0), (0, "write", 0, 0), (1, "push", 0, 0), (1, "receive", 0, 0), (0, "take", 0, 300)],
    *[(0, "take", 0, 0)] * 9,
    (0, "send", 20, 500),
    *[(0, "send", 20, 0)] * 9,
    (1, "use", 0, HOLD_MS + LENGTH_MS + MARGIN_MS - 700),
]
"""Taken, and held back until it is too late."""
ANSWERED = [(0, "use", 9, 0), (0, "answer", 0, 450), (1, "use", 0, 600), (0, "use", 0, 300)]
"""Arrived late and answered at once: the window begins with the answer, not with the grant."""
TOLD = [
    *[(0, "use", 9, 0), (0, "answer", 0, 450), (0, "propose", 0, 0), (0, "write", 0, 0)],
    *[(1, "push", 0, 0), (1, "receive", 0, 0), (1, "use", 0, 850)],
]
"""Another process knows of the answers, and not of more than that."""


def most_in_a_window(arrivals: list[int]) -> int:
    times = sorted(arrivals)
    return max((sum(start <= time_ms < start + LENGTH_MS for time_ms in times) for start in times), default=0)


@settings(max_examples=300, deadline=None)
@given(
    skews_ms=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=4),
    steps=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(ACTIONS),
            st.sampled_from([0, 3, 9, 10, 11, 18, 20]),
            st.sampled_from([0, 0, 0, 3, 60, 300, 700, 1_020]),
        ),
        max_size=120,
    ),
)
@example(skews_ms=[0, 5], steps=LATE)
@example(skews_ms=[0, 5], steps=HELD)
@example(skews_ms=[0, 5], steps=ANSWERED)
@example(skews_ms=[0, 5], steps=TOLD)
def test_no_window_of_the_exchange_holds_more_than_the_limit(
    skews_ms: list[int], steps: list[tuple[int, str, int, int]]
) -> None:
    world = World(skews_ms)
    for number, action, amount, pause_ms in steps:
        world.now_ms += pause_ms
        world.step(number, action, amount)
    assert most_in_a_window(world.arrivals) <= LIMIT


def window(**changes: Any) -> BudgetWindow:
    return BudgetWindow(**{"length_ms": LENGTH_MS, "limit": LIMIT, "owner": "me"} | changes)


def grant(view: BudgetWindow, store: Store, priority: Priority, count: int, now_ms: int) -> int:
    """Ask for requests and return how many were granted."""
    before = view.free(Priority.EXIT, now_ms)
    proposal = view.propose({priority: count}, now_ms)
    if proposal is None:
        return 0
    revision = store.write(proposal.payload, proposal.revision)
    assert revision is not None
    view.accept(proposal, revision)
    return view.free(Priority.EXIT, now_ms) - before


@given(st.lists(st.tuples(st.sampled_from(Priority), st.integers(1, 30)), max_size=12))
def test_each_priority_leaves_what_is_reserved_for_those_before_it(asked: list[tuple[Priority, int]]) -> None:
    store, view = Store(), window(limit=50)
    for priority, count in asked:
        used = view.used(0)
        granted = grant(view, store, priority, count, 0)
        assert granted == 0 or used + granted <= most_of(50, priority)
    grant(view, store, Priority.EXIT, 50, 0)
    assert view.used(0) == 50


def test_exits_find_the_reserve_when_entries_have_used_all_that_is_theirs() -> None:
    store, view = Store(), window()
    assert grant(view, store, Priority.ENTRY, 100, 0) == 8
    assert grant(view, store, Priority.ENTRY, 1, 0) == 0
    assert grant(view, store, Priority.EXIT, 2, 0) == 2
    for _ in range(8):
        assert view.take(Priority.ENTRY, 0) is not None
    assert view.take(Priority.ENTRY, 0) is None  # what was granted to exits is not for entries
    assert view.take(Priority.EXIT, 0) is not None


def test_an_answered_request_counts_for_one_window_from_its_answer() -> None:
    store, view, other = Store(), window(), window(owner="other")
    grant(view, store, Priority.EXIT, 1, 0)
    slot = view.take(Priority.EXIT, 5)
    assert slot is not None
    view.answered(slot, 40)
    grant(view, store, Priority.EXIT, 0, 41)
    other.receive(store.payload, store.revision, 41)
    for seen in (view, other):
        assert seen.used(40 + LENGTH_MS) == 1
        assert seen.used(42 + LENGTH_MS + MARGIN_MS) == 0


def test_the_grants_of_a_dead_process_count_for_one_window_and_no_longer() -> None:
    store, view, other = Store(), window(), window(owner="other")
    grant(view, store, Priority.EXIT, 10, 0)
    other.receive(store.payload, store.revision, 3)
    assert other.room(Priority.EXIT, 3) == 0
    assert other.wait_ms(Priority.EXIT, 3) == pytest.approx(HOLD_MS + LENGTH_MS + MARGIN_MS, abs=2)
    assert other.room(Priority.EXIT, 5 + HOLD_MS + LENGTH_MS + MARGIN_MS) == 10


def test_what_was_granted_and_not_needed_is_given_back() -> None:
    store, view, other = Store(), window(), window(owner="other")
    grant(view, store, Priority.EXIT, 10, 0)
    assert view.free(Priority.EXIT, POOL_MS + 1) == 0
    grant(view, store, Priority.EXIT, 0, POOL_MS + 1)
    other.receive(store.payload, store.revision, POOL_MS + 2)
    assert other.room(Priority.EXIT, POOL_MS + 2) == 10


def test_a_slot_is_late_when_others_no_longer_wait_for_it() -> None:
    store, view = Store(), window()
    grant(view, store, Priority.EXIT, 1, 100)
    slot = view.take(Priority.EXIT, 120)
    assert slot is not None
    assert slot.until_ms == 100 + USE_MS


def test_an_age_gains_nothing_by_passing_through_many_hands() -> None:
    """Whoever rewrites the document states ages that are no larger than the truth."""
    store, first = Store(), window(owner="0")
    grant(first, store, Priority.EXIT, 1, 0)
    true_ms = 0
    for number in range(1, 60):
        true_ms += 9
        view = window(owner=str(number))
        view.receive(store.payload, store.revision, true_ms + 1_000 * number)
        view.learn_limit(number)  # something to tell, so that the document is written anew
        grant(view, store, Priority.EXIT, 0, true_ms + 1_000 * number)
    rows = json.loads(store.payload or b"")["grants"]
    ages = [age_ms for owner, _, _, _, age_ms in rows if owner == "0"]
    assert ages
    assert all(age_ms <= true_ms for age_ms in ages)


def test_a_limit_that_one_process_learns_holds_for_all() -> None:
    store, view, other = Store(), window(), window(owner="other")
    view.learn_limit(20)
    assert view.has_news
    grant(view, store, Priority.QUERY, 0, 0)
    assert not view.has_news
    other.receive(store.payload, store.revision, 1)
    assert other.limit == 20


def test_a_pause_is_told_with_its_age_and_ends_for_all_at_about_the_same_time() -> None:
    store, view, other = Store(), window(), window(owner="other")
    assert view.begin_pause(600, 0)
    assert not view.begin_pause(600, 10)
    grant(view, store, Priority.QUERY, 0, 100)
    other.receive(store.payload, store.revision, 1_000_130)
    assert other.pause_left_ms(1_000_130) in range(495, 505)
    assert other.room(Priority.EXIT, 1_000_130) == 0
    assert other.wait_ms(Priority.EXIT, 1_000_130) == other.pause_left_ms(1_000_130)
    assert other.room(Priority.EXIT, 1_000_640) == LIMIT


@pytest.mark.parametrize("payload", [b"junk", b"[]", b'{"limit": 10}', b'{"limit": "x", "grants": [[1]]}'])
def test_a_document_that_nobody_can_read_counts_as_a_full_window(payload: bytes) -> None:
    view = window()
    view.receive(payload, 5, 0)
    assert view.room(Priority.EXIT, 0) == 0
    assert view.room(Priority.EXIT, LENGTH_MS + MARGIN_MS + 1) == LIMIT
    assert view.revision == 5


def test_a_store_that_began_anew_is_believed_when_asked_and_what_is_known_of_others_stays() -> None:
    store, view, other = Store(), window(), window(owner="other")
    for _ in range(5):
        grant(other, store, Priority.EXIT, 1, 0)
    view.receive(store.payload, store.revision, 1)
    view.receive(None, 0, 2, is_asked=True)
    assert view.used(2) == other.used(2)
    assert grant(view, Store(), Priority.EXIT, 1, 3) == 1


def test_wait_ends_when_enough_requests_have_left_the_window() -> None:
    store, view = Store(), window()
    for time_ms in range(0, 800, 100):
        grant(view, store, Priority.ENTRY, 1, time_ms)
        slot = view.take(Priority.ENTRY, time_ms)
        assert slot is not None
        view.answered(slot, time_ms)
    assert view.room(Priority.ENTRY, 700) == 0
    assert view.wait_ms(Priority.ENTRY, 700) == LENGTH_MS + MARGIN_MS - 700
    assert view.wait_ms(Priority.QUERY, 700) == 200 + LENGTH_MS + MARGIN_MS - 700  # 6 of 8 may count
    assert view.wait_ms(Priority.EXIT, 700) == 0


def full(store: Store, view: BudgetWindow, other: BudgetWindow) -> None:
    """Let `view` use the window, and `other` say that it waits for three."""
    grant(view, store, Priority.EXIT, 10, 0)
    other.receive(store.payload, store.revision, 0)
    assert grant(other, store, Priority.EXIT, 3, 0) == 0
    view.receive(store.payload, store.revision, 0)


def test_who_was_granted_much_leaves_what_becomes_free_to_who_waits() -> None:
    store, view, other = Store(), window(), window(owner="other")
    full(store, view, other)
    for _ in range(4):
        slot = view.take(Priority.EXIT, 0)
        assert slot is not None
        view.answered(slot, 0)
    now_ms = LENGTH_MS + MARGIN_MS + 2
    assert view.room(Priority.EXIT, now_ms) == 10 - 3
    assert grant(view, store, Priority.EXIT, 10, now_ms) == 7
    other.receive(store.payload, store.revision, now_ms)
    assert grant(other, store, Priority.EXIT, 3, now_ms) == 3
    assert not other.has_turn(now_ms)


def test_nothing_is_left_for_long_to_who_says_nothing_more() -> None:
    store, view, other = Store(), window(), window(owner="other")
    full(store, view, other)
    assert view.room(Priority.EXIT, PATIENCE_MS - 100) == 7
    assert view.room(Priority.EXIT, PATIENCE_MS + 2) == 10


def test_an_exit_leaves_nothing_to_entries_that_wait() -> None:
    store, view, other = Store(), window(), window(owner="other")
    grant(view, store, Priority.ENTRY, 8, 0)
    other.receive(store.payload, store.revision, 0)
    assert grant(other, store, Priority.ENTRY, 5, 0) == 0
    view.receive(store.payload, store.revision, 0)
    assert view.room(Priority.EXIT, 1) == 2
    assert view.room(Priority.QUERY, 1) < 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(0, 400)), max_size=40))
def test_processes_never_leave_room_to_each_other_in_a_circle(steps: list[tuple[int, int, int]]) -> None:
    """Of those that wait at one time and know the same document, one leaves nothing to the others."""
    store, now_ms = Store(), 0
    views = [window(owner=str(number)) for number in range(4)]
    for number, count, pause_ms in steps:
        now_ms += pause_ms
        views[number].receive(store.payload, store.revision, now_ms)
        grant(views[number], store, Priority.EXIT, count, now_ms)
    for view in views:
        view.receive(store.payload, store.revision, now_ms)
    waiting = [view for view in views if view.has_turn(now_ms)]
    leaves_nothing = [view.room(Priority.EXIT, now_ms) == LIMIT - view.used(now_ms) for view in waiting]
    assert not waiting or any(leaves_nothing)
