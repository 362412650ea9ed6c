"""Applying a configuration to a running system, and what is known of those that were: over the bus alone.

A configuration is kept under its hash and never changes. What is changed, by compare-and-set, is the schedule: which
version holds from which trading day on.
"""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from breakwater_cli.bus_address import BusAddress
from breakwater_cli.control import UNCONFIRMED, Answer, open_bus
from breakwater_core.config import BreakwaterConfig
from breakwater_core.config_schedule import (
    ConfigVersion,
    DayVersion,
    ScheduledVersion,
    SeenSchedule,
    check_change,
)
from breakwater_core.control_answers import live
from breakwater_core.errors import InvalidInputError
from breakwater_core.market import LIVE_RUN_ID, Clock
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.config_file import read_config
from breakwater_runtime.config_versions import ConfigStore, StoredSchedule
from breakwater_runtime.control import read_acknowledgements

NEXT_DAY = "next-day"
_LOOK_S = 0.1
_DAYS_SHOWN = 30
_ALIVE_S = 15.0
"""A live signal writes its checkpoint every few seconds."""
_OF_THE_PAPER_EXCHANGE = ("costs.", "portfolio.initial_equity")


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """What is to be applied.

    Attributes:
        path: YAML or JSON.
        overrides: `section.key=value` on top of it.
        effective: First day of the version, or `next-day`.
        reason: Why, in a person's words.
        wait_s: Seconds to wait for the signal processes' acknowledgement.
        run_id: The run; another than `live` for a rehearsal.
    """

    path: Path
    overrides: tuple[str, ...] = ()
    effective: str = NEXT_DAY
    reason: str = ""
    wait_s: float = 10.0
    run_id: str = LIVE_RUN_ID


@dataclass(frozen=True, slots=True)
class _State:
    """What the bus says before a change."""

    stored: StoredSchedule
    days: list[DayVersion]
    running: ConfigVersion | None

    def first_free_day(self, today: date) -> date:
        """Return the first day that has not begun and whose version nobody has fixed."""
        return max([today, *(fixed.day for fixed in self.days)]) + timedelta(days=1)


async def apply(address: BusAddress, request: ApplyRequest) -> Answer:
    """Keep a configuration, schedule it, and wait until every live signal has said when it begins.

    Raises:
        DependencyError: If the bus is not reachable.
        InvalidInputError: If the configuration is wrong, the system cannot turn to it, or its day has begun.
        ScheduleChanged: If somebody else has changed the schedule at the same time.
    """
    config = read_config(request.path, request.overrides)
    if not config.portfolio.symbols:
        raise InvalidInputError(f"{request.path}: portfolio.symbols is empty; name the symbols to trade")
    version = ConfigVersion.of(config)
    async with open_bus(address, request.run_id) as bus:
        store = ConfigStore(bus)
        state = await _read(store)
        today = config.session.session().day_of(await _now_ms(bus))
        await _check(bus, state, config, today)
        day = _effective_day(request.effective, state.first_free_day(today))
        held = state.stored.schedule.entry_for(day)
        if held is not None and held.version == version.version:
            return Answer(
                {"version": version.version, "day": held.day.isoformat(), "changed": False},
                (f"configuration {version.version} holds from {held.day} on already; nothing was changed",),
            )
        await store.keep(version)
        entry = ScheduledVersion(day, version.version, request.reason, time.time_ns() // 1_000_000)
        revision = await store.replace_schedule(state.stored.schedule.with_entry(entry), last=state.stored.revision)
        lines = [f"configuration {version.version} takes effect on {day}"]
        lines += _replaced(state, entry)
        lines += [] if state.running is None else _changes(state.running.config, config)
        seen, silent = await _acknowledged(bus, store, revision, request.wait_s)
        lines += [_seen_line(one, version.version) for one in seen]
        lines += [f"  signal {name} has NOT acknowledged it within {request.wait_s:g} s" for name in silent]
        if not seen and not silent:
            lines.append("  no signal is alive; the schedule stands, and is taken up once one starts")
        values = {
            "version": version.version,
            "day": day.isoformat(),
            "changed": True,
            "revision": revision,
            "acknowledged": [one.to_values() for one in seen],
            "unacknowledged": silent,
        }
        return Answer(values, tuple(lines), UNCONFIRMED if silent else 0)


async def list_versions(address: BusAddress, run_id: str) -> Answer:
    """Return what was applied and from which day on it held or will hold.

    Raises:
        DependencyError: If the bus is not reachable.
    """
    async with open_bus(address, run_id) as bus:
        state = await _read(ConfigStore(bus))
    active = state.days[-1] if state.days else None
    lines = [
        f"{entry.day}  {entry.version}  {_word(state, entry):<10} applied {_time_text(entry.applied_at_ms)}"
        f"{f'  {entry.reason}' if entry.reason else ''}"
        for entry in state.stored.schedule.entries
    ]
    if not lines:
        lines = ["no configuration was applied; the services run under their file"]
    if active is not None:
        lines.append(f"{active.day} runs under {active.version}")
    values = {
        "revision": state.stored.revision,
        "entries": [entry.to_values() | {"state": _word(state, entry)} for entry in state.stored.schedule.entries],
        "days": [{"day": fixed.day.isoformat(), "version": fixed.version} for fixed in state.days],
        "active": None if active is None else active.version,
    }
    return Answer(values, tuple(lines))


async def show(address: BusAddress, name: str | None, run_id: str) -> Answer:
    """Return a version's content, or without a name what is active, what is scheduled and what each signal says.

    Raises:
        DependencyError: If the bus is not reachable.
        InvalidInputError: If there is no such version.
    """
    async with open_bus(address, run_id) as bus:
        store = ConfigStore(bus)
        if name is not None:
            return _content(await _find(bus, store, name))
        state, seen = await _read(store), await store.seen()
    if not state.days:
        lines = ["no day has begun under a version that is kept"]
    else:
        newest = state.days[-1]
        lines = [f"active: {newest.version} on {newest.day}{_origin(newest)}"]
        if newest.refused:
            lines.append(f"REFUSED: {newest.refused} ({newest.detail})")
    after = state.days[-1].day if state.days else date.min
    coming = state.stored.schedule.later_than(after)
    lines += [f"scheduled: {entry.version} from {entry.day} on" for entry in coming]
    lines += [_seen_line(one, None) for one in seen]
    values = {
        "active": None if not state.days else {"day": after.isoformat(), "version": state.days[-1].version},
        "scheduled": [entry.to_values() for entry in coming],
        "signals": [one.to_values() for one in seen],
        "revision": state.stored.revision,
    }
    return Answer(values, tuple(lines))


async def _read(store: ConfigStore) -> _State:
    stored, days = await store.schedule(), await store.days(newest=_DAYS_SHOWN)
    running = await store.version(days[-1].version) if days else None
    return _State(stored, days, running)


async def _now_ms(bus: Bus) -> int:
    """Return the exchange's time as the newest clock of the run tells it; without one that of this machine."""
    try:
        message = (await bus.api("STREAM.MSG.GET.MD", {"last_by_subj": subjects.clock()}))["message"]
        decoded = codec.decode(subjects.clock(), base64.b64decode(message["data"]))
    except (BusError, codec.DecodeError):
        return time.time_ns() // 1_000_000
    if decoded.run_id != bus.run_id or not isinstance(decoded.value, Clock):
        return time.time_ns() // 1_000_000
    return decoded.value.now_ms


async def _check(bus: Bus, state: _State, config: BreakwaterConfig, today: date) -> None:
    """Refuse what the running system cannot turn to at the end of a day."""
    if state.running is not None:
        check_change(state.running.config, config)
    known = {name for one in await _live_executors(bus) for name in one.accounts}
    if known and (strange := sorted(set(config.portfolio.accounts) - known)):
        raise InvalidInputError(
            f"portfolio.accounts: no executor trades {', '.join(strange)}; there are {', '.join(sorted(known))}"
        )
    for symbol, day in await _overdue_positions(bus, today):
        if symbol not in config.portfolio.symbols:
            raise InvalidInputError(
                f"portfolio.symbols: {symbol} is taken out while its position of {day} is still open, although that "
                "day has ended; leave the symbol in until it is closed, or close it with `breakwater flatten`"
            )


async def _live_executors(bus: Bus) -> list[Any]:
    heard = await read_acknowledgements(bus)
    return [one for one in live(heard, at_ms=time.time_ns() // 1_000_000) if one.run_id == bus.run_id]


async def _overdue_positions(bus: Bus, today: date) -> list[tuple[str, str]]:
    """Return symbol and day of the positions that have outlived their day, as the signals' checkpoints have them."""
    found = set()
    for key in await bus.keys(subjects.CHECKPOINT_BUCKET, subjects.signal_state_key(bus.run_id, "")):
        content = await bus.read(subjects.CHECKPOINT_BUCKET, key)
        states = {} if content is None else json.loads(content)["strategy"]["symbols"]
        for symbol, state in states.items():
            holding = state["holding"]
            if holding is not None and holding["phase"] != "ended" and holding["day"] < today.isoformat():
                found.add((symbol, holding["day"]))
    return sorted(found)


def _effective_day(effective: str, first_free: date) -> date:
    if effective == NEXT_DAY:
        return first_free
    try:
        day = date.fromisoformat(effective)
    except ValueError as error:
        raise InvalidInputError(f"--effective takes next-day or a day such as 2024-05-31, was {effective!r}") from error
    if day < first_free:
        raise InvalidInputError(
            f"--effective {day}: that day has begun, or its version is fixed; the earliest is {first_free}"
        )
    return day


def _replaced(state: _State, entry: ScheduledVersion) -> list[str]:
    return [
        f"  in place of {known.version}, which was scheduled for the same day"
        for known in state.stored.schedule.entries
        if known.day == entry.day
    ]


def _changes(before: BreakwaterConfig, after: BreakwaterConfig) -> list[str]:
    """Return which keys differ from the running configuration, and which of them concern the paper exchange only."""
    old, new = dict(_flat(before.as_values())), dict(_flat(after.as_values()))
    changed = [key for key in new if old.get(key) != new[key]]
    lines = [f"  {key}: {_plain(old.get(key))} -> {_plain(new[key])}" for key in changed]
    if any(key.startswith(_OF_THE_PAPER_EXCHANGE) for key in changed):
        lines.append("  costs and initial equity are the paper exchange's: it charges them once it is started again")
    if changed and (gone := [one for one in before.portfolio.symbols if one not in after.portfolio.symbols]):
        lines.append(f"  positions in {', '.join(gone)} are exited at the end of the day before, under its own rules")
    return lines


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


async def _acknowledged(
    bus: Bus, store: ConfigStore, revision: int, wait_s: float
) -> tuple[list[SeenSchedule], list[str]]:
    """Wait for the live signals; return what they have said, and the names of those that have not."""
    names = await _live_signals(bus)
    deadline = time.monotonic() + wait_s
    while True:
        seen = [one for one in await store.seen() if one.instance in names and one.revision >= revision]
        silent = sorted(names - {one.instance for one in seen})
        if not silent or time.monotonic() >= deadline:
            return seen, silent
        await asyncio.sleep(_LOOK_S)


async def _live_signals(bus: Bus) -> set[str]:
    """Return the signals whose checkpoint the server has stored a moment ago."""
    prefix = subjects.signal_state_key(bus.run_id, "")
    names = set()
    for key in await bus.keys(subjects.CHECKPOINT_BUCKET, prefix):
        message = await bus.jetstream.get_msg(
            f"KV_{subjects.CHECKPOINT_BUCKET}", subject=f"$KV.{subjects.CHECKPOINT_BUCKET}.{key}", direct=False
        )
        if message.time is not None and (datetime.now(UTC) - message.time).total_seconds() < _ALIVE_S:
            names.add(key.removeprefix(prefix))
    return names


async def _find(bus: Bus, store: ConfigStore, name: str) -> ConfigVersion:
    prefix = subjects.config_version_key("")
    known = [key.removeprefix(prefix) for key in await bus.keys(subjects.CONFIG_BUCKET, prefix)]
    matching = [one for one in known if one.startswith(name)]
    if len(matching) != 1:
        kind = "several versions begin" if matching else "no version begins"
        raise InvalidInputError(f"{kind} with {name!r}; there are {', '.join(matching or known) or 'none'}")
    found = await store.version(matching[0])
    if found is None:
        raise InvalidInputError(f"version {matching[0]} was deleted")
    return found


def _content(version: ConfigVersion) -> Answer:
    values = version.config.as_values()
    text = f"# version {version.version}\n{yaml.safe_dump(values, sort_keys=False)}".rstrip()
    return Answer({"version": version.version, "config": values}, tuple(text.splitlines()))


def _word(state: _State, entry: ScheduledVersion) -> str:
    if not state.days:
        return "scheduled"
    newest = state.days[-1]
    if entry.day > newest.day:
        return "scheduled"
    holds = state.stored.schedule.entry_for(newest.day) == entry
    if holds and newest.version == entry.version:
        return "active"
    if holds:
        return "refused" if newest.refused == entry.version else "late"
    return "past"


def _origin(fixed: DayVersion) -> str:
    return "" if fixed.revision else ", from the configuration file"


def _seen_line(seen: SeenSchedule, version: str | None) -> str:
    runs = "has begun no day" if seen.day is None else f"runs {seen.day} under {seen.version}"
    begins = [f"{name} begins on {day}" for day, name in seen.begins if version in {None, name}]
    return f"  signal {seen.instance}: {runs}{''.join(f', {text}' for text in begins)}"


def _time_text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).isoformat(timespec="seconds")
