"""Configuration versions by trading day: what was applied, what each day that has begun runs under, who has seen it.

A version is a configuration under its hash and never changes. The schedule says which version holds from which day
on. The version of a day is fixed once, when the first process begins the day: whatever is applied later begins with a
later day. Days are the session's, times milliseconds since 1970-01-01T00:00Z.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Self

from breakwater_core.config import BreakwaterConfig, version_of_values
from breakwater_core.errors import InvalidInputError, InvariantError

ENTRIES_KEPT = 200
"""Entries of the schedule kept at most; the oldest go first."""


@dataclass(frozen=True)
class ConfigVersion:
    """A configuration and the name that it is kept under."""

    version: str
    config: BreakwaterConfig

    @classmethod
    def of(cls, config: BreakwaterConfig) -> Self:
        """Return a configuration under its hash."""
        return cls(config.version, config)

    def encode(self) -> bytes:
        """Return the content that is kept."""
        return _text({"config": self.config.as_hashed_values()})

    @classmethod
    def decode(cls, version: str, content: bytes) -> Self:
        """Return the version that a content holds; keys that were not known when it was kept have their defaults.

        Raises:
            InvariantError: If the content is not that of the version.
            InvalidInputError: If this program does not understand it: a newer one has kept it.
        """
        values = _values(content, f"configuration {version}").get("config")
        if not isinstance(values, dict) or version_of_values(values) != version:
            raise InvariantError(f"the content of configuration {version} is not what its hash says; apply it again")
        return cls(version, BreakwaterConfig.parse(values))


@dataclass(frozen=True, slots=True)
class ScheduledVersion:
    """A version that holds from a day on.

    Attributes:
        day: First day.
        version: The version.
        reason: Why, in a person's words.
        applied_at_ms: When it was applied.
    """

    day: date
    version: str
    reason: str
    applied_at_ms: int

    def to_values(self) -> dict[str, Any]:
        """Return the entry as plain values."""
        return {
            "day": self.day.isoformat(),
            "version": self.version,
            "reason": self.reason,
            "applied_at_ms": self.applied_at_ms,
        }


@dataclass(frozen=True, slots=True)
class ConfigSchedule:
    """Which version holds from which day on; before the first day that stands here: the configuration file.

    Attributes:
        entries: At most one for each day, oldest day first.
    """

    entries: tuple[ScheduledVersion, ...] = ()

    def entry_for(self, day: date) -> ScheduledVersion | None:
        """Return the newest entry that holds on the day; None: the configuration file does."""
        return next((entry for entry in reversed(self.entries) if entry.day <= day), None)

    def later_than(self, day: date) -> tuple[ScheduledVersion, ...]:
        """Return the entries that begin after the day."""
        return tuple(entry for entry in self.entries if entry.day > day)

    def with_entry(self, entry: ScheduledVersion) -> Self:
        """Return the schedule with one more entry, in place of one for the same day."""
        others = [known for known in self.entries if known.day != entry.day]
        ordered = sorted([*others, entry], key=lambda one: one.day)
        return type(self)(tuple(ordered[-ENTRIES_KEPT:]))

    def encode(self) -> bytes:
        """Return the document."""
        return _text({"entries": [entry.to_values() for entry in self.entries]})

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Return the schedule that a document holds; an empty one is that of a deleted key.

        Raises:
            InvariantError: If it cannot be read.
        """
        if not content:
            return cls()
        values = _values(content, "the schedule of configurations")
        try:
            entries = [
                ScheduledVersion(
                    date.fromisoformat(one["day"]), str(one["version"]), str(one["reason"]), int(one["applied_at_ms"])
                )
                for one in values["entries"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise InvariantError(f"the schedule of configurations cannot be read ({error!r})") from error
        return cls(tuple(sorted(entries, key=lambda one: one.day)))


@dataclass(frozen=True, slots=True)
class DayVersion:
    """What a day that has begun runs under; written once and never changed.

    Attributes:
        day: The day.
        version: Its version.
        revision: Revision of the schedule that said so; 0: there was none, so it is the configuration file.
        refused: Version that the schedule named and that could not be used; empty: none.
        detail: Why not.
    """

    day: date
    version: str
    revision: int
    refused: str = ""
    detail: str = ""

    def encode(self) -> bytes:
        """Return the document."""
        return _text(
            {
                "day": self.day.isoformat(),
                "version": self.version,
                "revision": self.revision,
                "refused": self.refused,
                "detail": self.detail,
            }
        )

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Return what a document holds.

        Raises:
            InvariantError: If it cannot be read.
        """
        values = _values(content, "the version of a day")
        try:
            return cls(**values | {"day": date.fromisoformat(values["day"])})
        except (KeyError, TypeError, ValueError) as error:
            raise InvariantError(f"the version of a day cannot be read ({error!r})") from error


@dataclass(frozen=True, slots=True)
class SeenSchedule:
    """What a signal process says of the schedule: what it runs under, and when the rest begins.

    Attributes:
        instance: Name of the process.
        day: Day that it decides about; None: it has not begun one.
        version: That day's version; empty: none yet.
        revision: Revision of the schedule that it has seen; 0: there is none.
        begins: First day of each version that is to come, as it will begin it.
    """

    instance: str
    day: date | None
    version: str
    revision: int
    begins: tuple[tuple[date, str], ...] = ()

    def to_values(self) -> dict[str, Any]:
        """Return the statement as plain values."""
        return {
            "instance": self.instance,
            "day": None if self.day is None else self.day.isoformat(),
            "version": self.version,
            "revision": self.revision,
            "begins": [[day.isoformat(), version] for day, version in self.begins],
        }

    def encode(self) -> bytes:
        """Return the document."""
        return _text(self.to_values())

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Return what a document holds.

        Raises:
            InvariantError: If it cannot be read.
        """
        values = _values(content, "a signal's statement about configurations")
        try:
            return cls(
                instance=str(values["instance"]),
                day=None if values["day"] is None else date.fromisoformat(values["day"]),
                version=str(values["version"]),
                revision=int(values["revision"]),
                begins=tuple((date.fromisoformat(day), str(version)) for day, version in values["begins"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvariantError(f"a signal's statement about configurations cannot be read ({error!r})") from error


def beginnings(schedule: ConfigSchedule, day: date, version: str) -> tuple[tuple[date, str], ...]:
    """Return what begins after a day that runs under a version: first day and version of each, soonest first.

    An entry for that day or an earlier one that is not what the day runs under came too late: it begins with the next.
    """
    following = date.fromordinal(day.toordinal() + 1)
    found: list[tuple[date, str]] = []
    held = schedule.entry_for(following)
    if held is not None and held.day < following and held.version != version:
        found.append((following, held.version))
    found.extend((entry.day, entry.version) for entry in schedule.later_than(day))
    return tuple(found)


def session_obstacles(running: BreakwaterConfig, wanted: BreakwaterConfig) -> list[str]:
    """Return in what the trading day of two configurations differs, one line each; empty: in nothing.

    Every service cuts its days by its configuration file, so the day cannot change while the system runs.
    """
    return _differences(_SESSION_KEYS, running, wanted)


def check_change(running: BreakwaterConfig, wanted: BreakwaterConfig) -> None:
    """Refuse a configuration that a running system cannot turn to at the end of a day.

    Raises:
        InvalidInputError: Naming each reason and its remedy.
    """
    found = _differences(_SESSION_KEYS | _ACCOUNT_KEYS, running, wanted)
    if found:
        raise InvalidInputError(
            f"{'; '.join(found)}: that cannot change while the system runs; flatten, stop all services, change the "
            "configuration file and start them again"
        )


_Keys = dict[str, Callable[[BreakwaterConfig], str]]

_SESSION_KEYS: _Keys = {
    "session.start": lambda config: config.session.start.isoformat(),
    "session.timezone": lambda config: config.session.timezone,
}
_ACCOUNT_KEYS: _Keys = {"portfolio.accounts": lambda config: ", ".join(config.portfolio.accounts)}


def _differences(keys: _Keys, running: BreakwaterConfig, wanted: BreakwaterConfig) -> list[str]:
    pairs = {key: (read(running), read(wanted)) for key, read in keys.items()}
    return [f"{key} is {before} and would be {after}" for key, (before, after) in pairs.items() if before != after]


def symbols_of(configs: Iterable[BreakwaterConfig]) -> tuple[str, ...]:
    """Return the symbols of several configurations: each once, in the order of their first naming."""
    return tuple(dict.fromkeys(symbol for config in configs for symbol in config.portfolio.symbols))


def _text(values: dict[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def _values(content: bytes, subject: str) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except ValueError as error:
        raise InvariantError(f"{subject} is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise InvariantError(f"{subject} is no mapping")
    return values
