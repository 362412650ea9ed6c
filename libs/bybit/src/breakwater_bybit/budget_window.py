"""One limit of the exchange as one process sees it: who was granted what, how old that is, and how much is left.

The state of a limit is a document that all processes change by compare-and-set. It holds *ages*, never times of day:
each number is a lower bound of how long ago something happened, measured by monotonic clocks alone. Whoever writes the
document states the ages of that moment; whoever reads it adds only what passes on its own clock from then on. So clocks
may differ by hours. Whatever delays a message makes things look younger than they are: less is granted, never more.

A grant is *open* while its requests may still arrive at the exchange, and counts until it is `HOLD_MS` plus the window
old. Once a request is answered it has arrived, so it is *settled*: it counts for one window from its answer. Take any
window of the exchange and the last arrival in it: when that request was granted, every other request of the window was
open or settled for less than a window, so it was counted. Hence no window holds more than the limit, as long as no
unanswered request travels for longer than `FLIGHT_MS`.

Processes take turns: one that finds no room says so in the document, and those that came later, or were granted
something since, leave it what it needs, up to `_TURN` requests. That is fairness only: who has not said so for
`PATIENCE_MS` is passed over, and no limit depends on it.

No sockets, no clock: times come in as milliseconds of a clock that never falls.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from breakwater_bybit.budget import USE_MS, Priority, most_of

POOL_MS = 300
"""A granted request that is not needed within this time is given back."""
FLIGHT_MS = 1_000
"""An unanswered request is taken to have arrived by then, or never to arrive."""
HOLD_MS = USE_MS + FLIGHT_MS
"""So long after a grant its requests may still arrive."""
MARGIN_MS = 10
"""Added to each window, for clocks that do not run equally fast."""
PATIENCE_MS = 2_000
"""Nothing is left to a process that has not said for so long that it waits: it may be dead."""
_TURN = 8
"""Most requests that are left to one process that waits, and that one takes at a time while others wait."""
_SPARE = 8
"""Most requests that are granted ahead of need, in one go."""
_SPARE_PART = 10
"""At most this part of the limit, and of what is left, is granted ahead of need."""
_CELL_PART = 50
"""Answers within this part of a window are counted as one."""
_SAME_PAUSE_MS = 50
"""A pause is not prolonged for less."""
_NOBODY = "?"

_RANKS: Mapping[Priority, int] = {priority: rank for rank, priority in enumerate(Priority)}


@dataclass(slots=True)
class _Known:
    """A grant of another process; `since_ms`: it is at least as old as that."""

    count: int
    is_open: bool
    since_ms: int


@dataclass(frozen=True, slots=True)
class _Turn:
    """A process waits for room: `since_ms` for how long already, `told_ms` when it last said so."""

    rank: int
    count: int
    since_ms: int
    told_ms: int


@dataclass(slots=True)
class _Own:
    """A grant of this process: `free` requests may be sent, `flying` ones are or may be on their way."""

    number: int
    priority: Priority
    since_ms: int
    free: int
    flying: int = 0


@dataclass(slots=True)
class _Cell:
    """Requests of this process that were answered at about the same time.

    Once it was in a proposal it is frozen: others may know it, and take the best that they know of its age.
    """

    number: int
    first_ms: int
    last_ms: int
    count: int
    is_frozen: bool = False
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing may be sent for a while.

    Attributes:
        name: Tells pauses apart.
        since_ms: When it began, or later.
        length_ms: How long it lasts.
    """

    name: str
    since_ms: int
    length_ms: int

    def left_ms(self, now_ms: int) -> int:
        """Return how much of it is left; 0 when it is over."""
        return max(0, self.since_ms + self.length_ms - now_ms)


@dataclass(frozen=True, slots=True)
class Slot:
    """Leave to send one request.

    Attributes:
        number: Grant that it is part of.
        until_ms: It may not be sent later: by then others count on it.
    """

    number: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A document to write, if that of `revision` still stands.

    Attributes:
        payload: The document.
        revision: What it replaces; 0: there is none.
        began_ms: When it was made: grants in it are no older than that.
        grants: New requests: number, priority and count of each grant.
        cells: Numbers of the settled requests that it tells.
        news: What it tells besides, see `BudgetWindow.accept`.
        turn: That this process waits for more; None: it does not.
    """

    payload: bytes
    revision: int
    began_ms: int
    grants: tuple[tuple[int, Priority, int], ...]
    cells: frozenset[int]
    news: int
    turn: _Turn | None


@dataclass(slots=True)
class BudgetWindow:
    """One limit, as one process sees it.

    Attributes:
        length_ms: Length of the exchange's rolling window.
        limit: Requests in it.
        owner: Name of this process, never used by another one before or after.
        is_learnt: Whether the limit is what answers or other processes tell; otherwise it stays as it is set.
        revision: Of the newest document seen; 0: none.
    """

    length_ms: int
    limit: int
    owner: str
    is_learnt: bool = True
    revision: int = 0
    pause: Pause | None = None
    _others: dict[tuple[str, int], _Known] = field(default_factory=dict)
    _own: list[_Own] = field(default_factory=list)
    _cells: list[_Cell] = field(default_factory=list)
    _turns: dict[str, _Turn] = field(default_factory=dict)
    _own_turn: _Turn | None = None
    _last_number: int = 0
    _news: int = 0
    _told: int = 0
    _has_returned: bool = False

    # What others tell

    def receive(
        self, payload: bytes | None, revision: int, now_ms: int, *, age_ms: int = 0, is_asked: bool = False
    ) -> None:
        """Take note of a document.

        Args:
            payload: None: there is none (any more); what is known of others stays true.
            revision: Its revision; one that is not newer than what is known is passed over.
            now_ms: When it was received.
            age_ms: At least so old it was by then.
            is_asked: It is the answer to a question, and counts whatever its revision: the store may have begun anew.
        """
        if revision <= self.revision and not is_asked:
            return
        self.revision = revision
        if not payload:
            return
        try:
            self._read(
                json.loads(payload), now_ms + 1 - age_ms
            )  # the next whole millisecond: ages are never rounded up
        except (ValueError, TypeError, KeyError, AttributeError):  # nobody knows what was granted: the worst
            self._others = {(_NOBODY, revision): _Known(self.limit, is_open=False, since_ms=now_ms)}

    def _read(self, values: dict[str, Any], read_ms: int) -> None:
        others: dict[tuple[str, int], _Known] = {}
        for owner, number, count, is_open, age_ms in values["grants"]:
            if owner == self.owner:
                continue
            grant = _Known(int(count), bool(is_open), read_ms - int(age_ms))
            known = self._others.get((owner, number))
            if known is not None and known.is_open == grant.is_open:
                grant.since_ms = min(grant.since_ms, known.since_ms)
            others[str(owner), int(number)] = grant
        turns = {
            str(owner): _Turn(int(rank), min(_TURN, int(count)), read_ms - int(waited_ms), read_ms - int(told_ms))
            for owner, rank, count, waited_ms, told_ms in values.get("turns", ())
            if owner != self.owner
        }
        limit, paused = int(values["limit"]), values.get("pause")
        self._others, self._turns = others, turns
        if self.is_learnt and self._news == self._told:
            self.limit = max(1, limit)
        if paused is not None:
            name, age_ms, length_ms = paused
            self._take_pause(Pause(str(name), read_ms - int(age_ms), int(length_ms)))

    def _take_pause(self, pause: Pause) -> None:
        """Keep the pause that ends last; of one that is known, the better knowledge of its begin."""
        known = self.pause
        if known is not None and known.name == pause.name and known.length_ms == pause.length_ms:
            self.pause = pause if pause.since_ms < known.since_ms else known
        elif known is None or pause.since_ms + pause.length_ms > known.since_ms + known.length_ms:
            self.pause = pause

    # What is left

    def used(self, now_ms: int) -> int:
        """Return how many requests count now, those granted and not sent included."""
        self._forget(now_ms)
        return sum(count for _, count in self._counting(now_ms))

    def room(self, priority: Priority, now_ms: int) -> int:
        """Return how many requests of a priority may be granted now; below 0 when its share is exceeded."""
        if self.pause_left_ms(now_ms):
            return 0
        return self.allowed(priority) - self.used(now_ms) - sum(turn.count for turn in self._before(priority, now_ms))

    def _before(self, priority: Priority, now_ms: int) -> list[_Turn]:
        """Return the turns of other processes that come before one of this priority here."""
        rank = _RANKS[priority]
        own = self._own_turn
        since_ms = own.since_ms if own is not None and own.rank == rank else now_ms
        return [
            turn
            for turn in self._turns.values()
            if now_ms - turn.told_ms < PATIENCE_MS
            and (turn.rank < rank or (turn.rank == rank and turn.since_ms < since_ms))
        ]

    def others_wait(self, now_ms: int) -> bool:
        """Return whether another process has said that it waits for room here."""
        return any(now_ms - turn.told_ms < PATIENCE_MS for turn in self._turns.values())

    def allowed(self, priority: Priority) -> int:
        """Return how many requests may count when one of this priority is granted, itself included."""
        return most_of(self.limit, priority)

    def wait_ms(self, priority: Priority, now_ms: int) -> int:
        """Return in how many milliseconds there may be room again, if nothing else happens; 0: there is."""
        paused_ms = self.pause_left_ms(now_ms)
        excess = self.used(now_ms) - self.allowed(priority) + 1
        if excess <= 0:
            before = self._before(priority, now_ms) if self.room(priority, now_ms) <= 0 else ()
            return max([paused_ms, *(turn.told_ms + PATIENCE_MS - now_ms for turn in before)])
        for end_ms, count in sorted(self._counting(now_ms)):
            excess -= count
            if excess <= 0:
                return max(1, paused_ms, end_ms - now_ms)
        return max(1, paused_ms)

    def pause_left_ms(self, now_ms: int) -> int:
        """Return how long nothing may be sent; 0: requests may be sent."""
        return 0 if self.pause is None else self.pause.left_ms(now_ms)

    def _counting(self, now_ms: int) -> Iterator[tuple[int, int]]:
        """Yield what counts: until when, and how much."""
        settled_ms = self.length_ms + MARGIN_MS
        for known in self._others.values():
            end_ms = known.since_ms + settled_ms + (HOLD_MS if known.is_open else 0)
            if end_ms > now_ms:
                yield end_ms, known.count
        for own in self._own:
            yield own.since_ms + settled_ms + HOLD_MS, own.free + own.flying
        for cell in self._cells:
            yield cell.last_ms + settled_ms, cell.count

    def _forget(self, now_ms: int) -> None:
        """Drop what no longer counts; requests that were granted and not needed are given back."""
        settled_ms = self.length_ms + MARGIN_MS
        for own in self._own:
            if own.free and now_ms - own.since_ms > POOL_MS:
                own.free = 0
                self._has_returned = True
        self._own = [own for own in self._own if own.free + own.flying and own.since_ms + settled_ms + HOLD_MS > now_ms]
        self._cells = [cell for cell in self._cells if cell.last_ms + settled_ms > now_ms]

    # What this process does

    def free(self, priority: Priority, now_ms: int) -> int:
        """Return how many granted requests of this process one of this priority could use."""
        if self.pause_left_ms(now_ms):
            return 0
        self._forget(now_ms)
        return sum(own.free for own in self._own if _RANKS[own.priority] >= _RANKS[priority])

    def take(self, priority: Priority, now_ms: int) -> Slot | None:
        """Use a granted request, one that fewest others could use; None if there is none."""
        if not self.free(priority, now_ms):
            return None
        usable = [own for own in self._own if own.free and _RANKS[own.priority] >= _RANKS[priority]]
        own = min(usable, key=lambda grant: (_RANKS[grant.priority], grant.since_ms))
        own.free -= 1
        own.flying += 1
        return Slot(own.number, own.since_ms + USE_MS)

    def give_back(self, slot: Slot) -> None:
        """Take back a request that was not sent and never will be."""
        for own in self._own:
            if own.number == slot.number and own.flying:
                own.flying -= 1
                own.free += 1

    def answered(self, slot: Slot, now_ms: int) -> None:
        """Note that a request was answered: it has arrived by now."""
        for own in self._own:
            if own.number == slot.number and own.flying:
                own.flying -= 1
        self._count(1, now_ms)

    def note_foreign(self, count: int, now_ms: int) -> None:
        """Count requests of which only the exchange knows, e.g. of another program that uses the account."""
        self._count(count, now_ms)
        self._news += 1

    def _count(self, count: int, now_ms: int) -> None:
        cell = self._cells[-1] if self._cells else None
        if cell is None or cell.is_frozen or now_ms - cell.first_ms > self.length_ms // _CELL_PART:
            cell = _Cell(self._number(), now_ms, now_ms, 0)
            self._cells.append(cell)
        cell.last_ms = now_ms
        cell.count += count

    def learn_limit(self, limit: int) -> None:
        """Take the limit that an answer states."""
        if limit > 0 and limit != self.limit:
            self.limit = limit
            self._news += 1

    def begin_pause(self, length_ms: int, now_ms: int) -> bool:
        """Send nothing for this long; True if nothing was paused before."""
        left_ms = self.pause_left_ms(now_ms)
        is_new = not left_ms
        if length_ms > left_ms + _SAME_PAUSE_MS:
            self.pause = Pause(f"{self.owner}-{self._number()}", now_ms, length_ms)
            self._news += 1
        return is_new

    @property
    def has_news(self) -> bool:
        """Whether something must be told at once: a limit, a pause, requests of others."""
        return self._news != self._told

    def has_settled(self, now_ms: int) -> bool:
        """Whether others count more than they need to: they do not know of answers, or of requests given back."""
        self._forget(now_ms)
        return self._has_returned or any(not cell.is_told for cell in self._cells)

    # Compare and set

    def must_tell_turn(self, now_ms: int) -> bool:
        """Whether a process that waits here should say so, (again)."""
        return self._own_turn is None or now_ms - self._own_turn.told_ms >= PATIENCE_MS // 2

    def has_turn(self, now_ms: int) -> bool:
        """Whether others may believe that this process waits here; what they heard late they believe for longer."""
        return self._own_turn is not None and now_ms - self._own_turn.told_ms < 2 * PATIENCE_MS

    def propose(
        self, wanted: Mapping[Priority, int], now_ms: int, *, blocked: Mapping[Priority, int] | None = None
    ) -> Proposal | None:
        """Return the document that grants what is wanted, as far as there is room; None if it would tell nothing.

        Args:
            wanted: Requests by priority; a few more may be granted ahead of need while much is left.
            now_ms: Before the document is sent.
            blocked: Requests that wait for room here, besides.
        """
        grants = self._grants(wanted, now_ms)
        turn = self._next_turn(Counter(wanted) + Counter(blocked or {}), grants, now_ms)
        tells_turn = self.must_tell_turn(now_ms) if turn is not None else self.has_turn(now_ms)
        if not grants and not tells_turn and not self.has_news and not self.has_settled(now_ms):
            return None
        rows: list[tuple[str, int, int, int, int]] = []
        settled_ms = self.length_ms + MARGIN_MS
        for (owner, number), known in self._others.items():
            if known.since_ms + settled_ms + (HOLD_MS if known.is_open else 0) > now_ms:
                rows.append((owner, number, known.count, int(known.is_open), now_ms - known.since_ms))
        rows.extend((self.owner, own.number, own.free + own.flying, 1, now_ms - own.since_ms) for own in self._own)
        for cell in self._cells:
            cell.is_frozen = True
            rows.append((self.owner, cell.number, cell.count, 0, now_ms - cell.last_ms))
        rows.extend((self.owner, number, count, 1, 0) for number, _, count in grants)
        values: dict[str, Any] = {"limit": self.limit, "grants": rows}
        turns = [
            (owner, known.rank, known.count, now_ms - known.since_ms, now_ms - known.told_ms)
            for owner, known in self._turns.items()
            if now_ms - known.told_ms < PATIENCE_MS
        ]
        if turn is not None:
            turns.append((self.owner, turn.rank, turn.count, now_ms - turn.since_ms, 0))
        if turns:
            values["turns"] = turns
        if self.pause is not None and self.pause_left_ms(now_ms):
            values["pause"] = [self.pause.name, now_ms - self.pause.since_ms, self.pause.length_ms]
        payload = json.dumps(values, separators=(",", ":")).encode()
        told = frozenset(cell.number for cell in self._cells)
        return Proposal(payload, self.revision, now_ms, tuple(grants), told, self._news, turn)

    def _next_turn(
        self, wanted: Mapping[Priority, int], grants: list[tuple[int, Priority, int]], now_ms: int
    ) -> _Turn | None:
        """Return for what this process waits on once it has these grants: whoever was granted something comes last."""
        granted = sum(count for _, _, count in grants)
        for priority in Priority:
            missing = wanted.get(priority, 0) - granted
            granted = max(0, -missing)
            if missing > 0:
                known = self._own_turn
                goes_on = known is not None and not grants and known.rank == _RANKS[priority]
                since_ms = known.since_ms if known is not None and goes_on else now_ms
                return _Turn(_RANKS[priority], min(_TURN, missing), since_ms, now_ms)
        return None

    def _grants(self, wanted: Mapping[Priority, int], now_ms: int) -> list[tuple[int, Priority, int]]:
        grants: list[tuple[int, Priority, int]] = []
        granted = 0
        for priority in Priority:
            need = wanted.get(priority, 0)
            room = self.room(priority, now_ms) - granted
            if need <= 0 or room <= 0:
                continue
            if self.others_wait(now_ms):
                count = min(room, need, _TURN)
            else:
                count = min(room, max(need, min(_SPARE, self.limit // _SPARE_PART, room // _SPARE_PART)))
            usable_by = [p for p in Priority if self.room(p, now_ms) - granted >= count][-1]
            grants.append((self._number(), usable_by, count))
            granted += count
        return grants

    def accept(self, proposal: Proposal, revision: int) -> None:
        """Take note that the proposal was written: its requests are granted.

        A proposal that was not written, or of which nobody knows, is simply left: nothing of it is granted. If it was
        written after all, its requests count for others until this process writes again, and are never sent.
        """
        self.revision = max(self.revision, revision)
        self._told = max(self._told, proposal.news)
        self._has_returned = False
        self._own_turn = proposal.turn
        for cell in self._cells:
            cell.is_told = cell.is_told or cell.number in proposal.cells
        for number, priority, count in proposal.grants:
            self._own.append(_Own(number, priority, proposal.began_ms, count))

    def _number(self) -> int:
        self._last_number += 1
        return self._last_number
