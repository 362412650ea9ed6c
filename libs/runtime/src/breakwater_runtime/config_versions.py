"""Configuration versions on the bus: kept under their hash, scheduled by compare-and-set, fixed for a day by a create.

Documents are read from the stream's leader, never out of a cache: two processes that ask for the version of a day get
the same answer.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import nats.errors
import nats.js.errors
from nats.js.api import RawStreamMsg

from breakwater_core.config import BreakwaterConfig
from breakwater_core.config_schedule import ConfigSchedule, ConfigVersion, DayVersion, SeenSchedule
from breakwater_core.errors import InvalidInputError, InvariantError, TransientError
from breakwater_runtime import subjects
from breakwater_runtime.bus import Bus, BusError, is_deletion
from breakwater_runtime.errors import reason_of
from breakwater_runtime.logs import get_logger
from breakwater_runtime.patience import patiently
from breakwater_runtime.readers import LAST_PER_SUBJECT, Delivery, read_stream
from breakwater_runtime.subjects import CONFIG_BUCKET

_STREAM = f"KV_{CONFIG_BUCKET}"
_PREFIX = f"$KV.{CONFIG_BUCKET}."
_DAYS_IN_FORCE = 2
"""The day that runs, and the one before, whose exits may not have ended."""


class ScheduleChanged(TransientError):
    """Somebody else has changed the schedule in the meantime; nothing was written."""


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """The schedule as it stands on the bus; revision 0: there is none."""

    schedule: ConfigSchedule
    revision: int = 0


class ConfigStore:
    """Reads and writes the bucket `config` for one run."""

    def __init__(self, bus: Bus) -> None:
        """Use the bucket of this bus, and the keys of its run."""
        self._bus = bus

    async def keep(self, version: ConfigVersion) -> None:
        """Keep a configuration under its hash; one that is kept already stays as it is.

        Raises:
            BusError: If the bus does not acknowledge.
        """
        await self._bus.create(CONFIG_BUCKET, subjects.config_version_key(version.version), version.encode())

    async def version(self, name: str) -> ConfigVersion | None:
        """Return the configuration that is kept under a name, None if there is none.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If the content is not what its name says.
            InvalidInputError: If this program does not understand it.
        """
        message = await self._message(subjects.config_version_key(name))
        return None if message is None else ConfigVersion.decode(name, message.data or b"")

    async def schedule(self) -> StoredSchedule:
        """Return the newest schedule.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If it cannot be read.
        """
        message = await self._message(subjects.config_schedule_key(self._bus.run_id))
        if message is None:
            return StoredSchedule(ConfigSchedule())
        return StoredSchedule(ConfigSchedule.decode(message.data or b""), message.seq or 0)

    async def replace_schedule(self, schedule: ConfigSchedule, *, last: int) -> int:
        """Put a schedule in place of the one of revision `last` (0: of none); return its revision.

        Raises:
            ScheduleChanged: If the newest one is another.
            BusError: If the bus does not answer; whether it is stored is not known then.
        """
        key = subjects.config_schedule_key(self._bus.run_id)
        try:
            return await (await self._bus.bucket(CONFIG_BUCKET)).update(key, schedule.encode(), last=last)
        except nats.js.errors.KeyWrongLastSequenceError as error:
            raise ScheduleChanged(
                "somebody else has applied a configuration at the same time, and nothing was changed; look at it with "
                "`breakwater config list`, then apply again if it still should be"
            ) from error
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            self._bus.note_refused(_STREAM, error)
            raise BusError(
                f"the schedule may or may not have been changed ({reason_of(error)}); "
                "look with `breakwater config list`"
            ) from error

    async def day(self, day: date) -> DayVersion | None:
        """Return what a day runs under, None if nobody has begun it.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If it cannot be read.
        """
        message = await self._message(subjects.config_day_key(self._bus.run_id, day.isoformat()))
        return None if message is None else DayVersion.decode(message.data or b"")

    async def fix_day(self, wanted: DayVersion) -> DayVersion:
        """Write down what a day runs under, unless somebody has; return what stands there.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If what stands there cannot be read.
        """
        key = subjects.config_day_key(self._bus.run_id, wanted.day.isoformat())
        if await self._bus.create(CONFIG_BUCKET, key, wanted.encode()):
            return wanted
        standing = await self.day(wanted.day)
        if standing is None:
            raise BusError(f"{CONFIG_BUCKET}/{key} was taken away while it was written")
        return standing

    async def days(self, *, after: date = date.min, newest: int | None = None) -> list[DayVersion]:
        """Return what the days that have begun run under, oldest first.

        Args:
            after: Only days later than this.
            newest: Only so many of them, the newest ones.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If one cannot be read.
        """
        prefix = subjects.config_day_key(self._bus.run_id, "")
        keys = await self._bus.keys(CONFIG_BUCKET, prefix)
        keys = [key for key in keys if key.removeprefix(prefix) > after.isoformat()]
        messages = [await self._message(key) for key in keys[-(newest or len(keys)) :]]
        return [DayVersion.decode(message.data or b"") for message in messages if message is not None]

    async def say_seen(self, seen: SeenSchedule) -> None:
        """State what a signal process runs under.

        Raises:
            BusError: If the bus does not acknowledge.
        """
        await self._bus.write(CONFIG_BUCKET, subjects.config_seen_key(self._bus.run_id, seen.instance), seen.encode())

    async def seen(self) -> list[SeenSchedule]:
        """Return the newest statement of each signal process, gone ones included."""
        keys = await self._bus.keys(CONFIG_BUCKET, subjects.config_seen_key(self._bus.run_id, ""))
        messages = [await self._message(key) for key in keys]
        return [SeenSchedule.decode(message.data or b"") for message in messages if message is not None]

    async def _message(self, key: str) -> RawStreamMsg | None:
        if not self._bus.client.is_connected:  # else the question would wait for its time limit
            raise BusError(f"{CONFIG_BUCKET}/{key} could not be read (not connected)")
        try:
            message = await self._bus.jetstream.get_msg(_STREAM, subject=f"{_PREFIX}{key}", direct=False)
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"{CONFIG_BUCKET}/{key} could not be read ({reason_of(error)})") from error
        if is_deletion(message.headers):
            return None
        if not message.data:
            raise InvariantError(f"{CONFIG_BUCKET}/{key} is empty, although nobody has deleted it")
        return message


class ConfigWatch:
    """What the bus says of configurations, for a service that prepares for those to come.

    In force are the versions of the running day and of the one before, whose exits may not have ended, and those that
    are scheduled; and the file's, unless a schedule has taken its place.
    """

    def __init__(self, store: ConfigStore, file: BreakwaterConfig) -> None:
        """Begin with the file's configuration alone."""
        self._store = store
        self._file = ConfigVersion.of(file)
        self._schedule = ConfigSchedule()
        self._days: dict[date, DayVersion] = {}
        self._known: dict[str, ConfigVersion] = {self._file.version: self._file}
        self.changed = asyncio.Event()
        """Set when something has changed; whoever takes note of it clears it."""

    def handle(self, delivery: Delivery) -> None:
        """Take a newer value of a schedule or a day; one that cannot be read changes nothing."""
        try:
            if not delivery.payload and not delivery.deletes:
                raise InvariantError("it is empty, although nobody has deleted it")
            if delivery.subject.startswith(f"{_PREFIX}schedule."):
                self._schedule = ConfigSchedule.decode(delivery.payload)
            elif delivery.payload:
                fixed = DayVersion.decode(delivery.payload)
                self._days[fixed.day] = fixed
                for day in sorted(self._days)[:-_DAYS_IN_FORCE]:
                    del self._days[day]
        except InvariantError as error:
            get_logger().error("config_unreadable", subject=delivery.subject, reason=str(error))
        self.changed.set()

    def take(self, stored: StoredSchedule, days: list[DayVersion]) -> None:
        """Take what was read at the beginning."""
        self._schedule = stored.schedule
        self._days = {fixed.day: fixed for fixed in days}

    @property
    def running(self) -> DayVersion | None:
        """What the newest day that has begun runs under."""
        return self._days[max(self._days)] if self._days else None

    def names_running(self) -> tuple[str, ...]:
        """Return the versions of the newest days that have begun, newest first; the file's if none has."""
        names = [self._days[day].version for day in sorted(self._days, reverse=True)]
        return tuple(dict.fromkeys(names or [self._file.version]))

    def names_coming(self) -> tuple[str, ...]:
        """Return the versions that are to begin, soonest first, whether they run already or not."""
        if not self._days:
            return tuple(dict.fromkeys(entry.version for entry in self._schedule.entries))
        newest = max(self._days)
        held = self._schedule.entry_for(newest + timedelta(days=1))
        names = [self._file.version if held is None else held.version]
        return tuple(dict.fromkeys([*names, *(entry.version for entry in self._schedule.later_than(newest))]))

    async def running_configs(self) -> list[BreakwaterConfig]:
        """Return the configurations of `names_running` that can be read.

        Raises:
            BusError: If the bus does not answer.
        """
        return await self._configs(self.names_running())

    async def configs_in_force(self) -> list[BreakwaterConfig]:
        """Return the configurations that run and those that are to begin, as far as they can be read.

        Raises:
            BusError: If the bus does not answer.
        """
        return await self._configs(dict.fromkeys([*self.names_running(), *self.names_coming()]))

    async def _configs(self, names: Iterable[str]) -> list[BreakwaterConfig]:
        found = [await self.find(name) for name in names]
        return [version.config for version in found if version is not None]

    async def find(self, name: str) -> ConfigVersion | None:
        """Return a version, None if there is none that can be used; each is read once.

        Raises:
            BusError: If the bus does not answer.
        """
        if name not in self._known:
            try:
                version = await self._store.version(name)
            except (InvariantError, InvalidInputError) as error:
                get_logger().error("config_unusable", version=name, reason=str(error))
                return None
            if version is None:
                return None
            self._known[name] = version
        return self._known[name]

    def known(self, name: str) -> ConfigVersion | None:
        """Return a version that was found before, without asking."""
        return self._known.get(name)


async def read_config_state(bus: Bus, file: BreakwaterConfig) -> ConfigWatch:
    """Return what the bus says now, for `follow_config` to follow.

    Raises:
        BusError: If the bus does not answer for half a minute.
    """
    store = ConfigStore(bus)
    watch = ConfigWatch(store, file)
    try:
        schedule = await patiently(store.schedule)
        watch.take(schedule, await patiently(lambda: store.days(newest=_DAYS_IN_FORCE)))
    except InvariantError as error:
        get_logger().error("config_unreadable", reason=str(error))
    return watch


@asynccontextmanager
async def follow_config(bus: Bus, watch: ConfigWatch, *, name: str) -> AsyncIterator[None]:
    """Keep the watch up to date while the context is open."""
    filters = [
        f"{_PREFIX}{subjects.config_schedule_key(bus.run_id)}",
        f"{_PREFIX}{subjects.config_day_key(bus.run_id, '*')}",
    ]
    async with read_stream(
        bus, name=f"{name}-config", stream=_STREAM, filters=filters, start=LAST_PER_SUBJECT, handle=watch.handle
    ):
        yield
