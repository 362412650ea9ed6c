"""Which configuration a day runs under: fixed once for all signal processes, before anything of the day is decided."""

import asyncio
from datetime import date, timedelta

from breakwater_core.config import BreakwaterConfig
from breakwater_core.config_schedule import (
    ConfigSchedule,
    ConfigVersion,
    DayVersion,
    SeenSchedule,
    beginnings,
    session_obstacles,
)
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import Alert, Severity
from breakwater_runtime.bus import Bus
from breakwater_runtime.config_versions import ConfigStore, StoredSchedule
from breakwater_runtime.logs import get_logger

SERVICE = "signal"


class DayVersions:
    """The versions of days, as this process learns them.

    The first process that begins a day reads the schedule and writes down what the day runs under; every other one, and
    each that starts later, takes what stands there. So what is applied too late for a day begins with the next one.
    """

    def __init__(self, bus: Bus, file: BreakwaterConfig, *, instance: str) -> None:
        """Use the file's configuration where nothing is scheduled."""
        self._bus = bus
        self._store = ConfigStore(bus)
        self._file = ConfigVersion.of(file)
        self._instance = instance
        self._running: tuple[date, ConfigVersion] | None = None
        self._stating = asyncio.Lock()

    async def of(self, day: date) -> ConfigVersion:
        """Return what a day that has begun, or begins now, runs under; the first call of any process fixes it.

        Raises:
            BusError: If the bus does not answer; it may be called again.
            InvariantError: If the bus holds what cannot be read.
            InvalidInputError: If a newer program has kept the day's configuration.
        """
        standing = await self._store.day(day)
        if standing is None:
            chosen, wanted = await self._choose(day, await self._schedule())
            await self._store.keep(chosen)
            standing = await self._store.fix_day(wanted)
        return await self._content(standing)

    async def begin(self, day: date) -> ConfigVersion:
        """Return what a day runs under as it begins, and tell if it is another version than before.

        Raises:
            As `of`.
        """
        version = await self.of(day)
        standing = await self._store.day(day)
        if standing is not None and standing.refused:
            await self._bus.alert(self._refusal(standing, version))
        before = None if self._running is None else self._running[1].version
        if before is not None and before != version.version:
            await self._bus.alert(self._switch(day, before, version))
        self._running = (day, version)
        get_logger().info("day_version", day=day.isoformat(), version=version.version)
        await self.state_seen()
        return version

    async def resumed(self, day: date, version: ConfigVersion) -> None:
        """Go on with a day that was begun before; nobody is told.

        Raises:
            BusError: If the bus does not acknowledge.
        """
        self._running = (day, version)
        await self.state_seen()

    async def state_seen(self) -> None:
        """State what this process runs under, and when what is scheduled begins.

        Raises:
            BusError: If the bus does not acknowledge.
        """
        async with self._stating:  # an older statement must not come after a newer one
            stored = await self._schedule()
            day, version = (None, "") if self._running is None else (self._running[0], self._running[1].version)
            begins = tuple((entry.day, entry.version) for entry in stored.schedule.entries)
            if day is not None:
                begins = beginnings(stored.schedule, day, version)
            await self._store.say_seen(SeenSchedule(self._instance, day, version, stored.revision, begins))

    async def _schedule(self) -> StoredSchedule:
        try:
            return await self._store.schedule()
        except InvariantError as error:
            get_logger().error("config_schedule_unreadable", reason=str(error))
            return StoredSchedule(ConfigSchedule())

    async def _choose(self, day: date, stored: StoredSchedule) -> tuple[ConfigVersion, DayVersion]:
        """Return the scheduled version if it can be used, else that of the day before, else the file's."""
        entry = stored.schedule.entry_for(day)
        if entry is None:
            return self._file, DayVersion(day, self._file.version, 0)
        refused = ""
        try:
            version = await self._store.version(entry.version)
        except (InvariantError, InvalidInputError) as error:
            version, refused = None, str(error)
        if version is not None:
            differences = session_obstacles(self._file.config, version.config)
            if not differences:
                return version, DayVersion(day, version.version, stored.revision)
            refused = f"not as the configuration file of the services: {'; '.join(differences)}"
        instead = await self._before(day)
        detail = refused or "its content is not kept"
        return instead, DayVersion(day, instead.version, stored.revision, entry.version, detail)

    async def _before(self, day: date) -> ConfigVersion:
        standing = await self._store.day(day - timedelta(days=1))
        version = None if standing is None else await self._content(standing)
        if version is None or session_obstacles(self._file.config, version.config):
            return self._file
        return version

    async def _content(self, standing: DayVersion) -> ConfigVersion:
        if standing.version == self._file.version:
            return self._file
        version = await self._store.version(standing.version)
        if version is None:
            raise InvariantError(
                f"{standing.day} runs under configuration {standing.version}, which the bus does not hold; put it back "
                "with `breakwater config apply`"
            )
        return version

    def _switch(self, day: date, before: str, version: ConfigVersion) -> Alert:
        summary = f"configuration {version.version} is active from {day} on, {before} was before"
        return self._alert("config_switched", Severity.INFO, summary, day, version, version.version)

    def _refusal(self, standing: DayVersion, version: ConfigVersion) -> Alert:
        summary = (
            f"configuration {standing.refused} was not taken for {standing.day}, which runs under {standing.version}: "
            f"{standing.detail}"
        )
        return self._alert("config_refused", Severity.CRITICAL, summary, standing.day, version, standing.refused)

    def _alert(
        self, name: str, severity: Severity, summary: str, day: date, version: ConfigVersion, about: str
    ) -> Alert:
        return Alert(
            alert_id=f"{name}/{self._bus.run_id}/{day.isoformat()}/{about}",
            run_id=self._bus.run_id,
            severity=severity,
            service=SERVICE,
            name=name,
            summary=summary,
            event_time_ms=version.config.session.session().day_start_ms(day),
            facts={"day": day.isoformat(), "version": version.version},
        )
