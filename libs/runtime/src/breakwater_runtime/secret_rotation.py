"""Secrets that are read again while the process runs: each new value is offered to those who use it.

A value that cannot be read, or that its user refuses, changes nothing: the last good one stays in use. The first
failure is logged, one that is still there at the next reading is an alert.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from enum import StrEnum

from prometheus_client import Counter, Gauge

from breakwater_core.errors import BreakwaterError, TransientError
from breakwater_core.events import Alert, Severity
from breakwater_runtime.daemon_thread import in_daemon_thread
from breakwater_runtime.errors import explain
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import begin_at_zero
from breakwater_runtime.redaction import keep_secret
from breakwater_runtime.secret_sources import SecretReference

REFRESHES = Counter(
    "breakwater_secret_refreshes_total",
    "Readings of a secret: unchanged, taken (a new value is in use), refused (by what uses it), unreadable.",
    ["secret", "outcome"],
)
LAST_READ = Gauge(
    "breakwater_secret_last_read_timestamp_seconds", "When a secret was last read, seconds since 1970.", ["secret"]
)
_ALERTS = {
    "refused": ("secret_refused", Severity.CRITICAL),
    "unreadable": ("secret_unreadable", Severity.WARNING),
}
HURRY_PAUSE_S = 2.0
"""Least seconds between two readings, also when one is asked for because a login was refused."""

type Take = Callable[[str], Awaitable[None]]


class SecretRefusedError(TransientError):
    """The new value is not taken, the old one stays in use; the message says why, without quoting it."""


class Outcome(StrEnum):
    """What a reading has brought."""

    UNCHANGED = "unchanged"
    TAKEN = "taken"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


class RotatingSecret:
    """A secret with a place that it is read from again."""

    def __init__(self, name: str, reference: SecretReference, text: str) -> None:
        """Begin with the text that was read at the start; `name` is the setting, e.g. `EXECUTOR_ACCOUNTS`."""
        self.name = name
        self._reference = reference
        self._text = text
        self._takers: list[Take] = []
        self._hurry = asyncio.Event()
        self._is_mixed = False  # a refused value may be in use with some who take it, or for part of what it holds
        LAST_READ.labels(name).set_to_current_time()
        begin_at_zero(REFRESHES, [name], Outcome)

    def __repr__(self) -> str:
        return f"RotatingSecret({self.name!r}, {self._reference.place!r})"

    @property
    def current(self) -> str:
        """The value in use."""
        return self._text

    @property
    def origin(self) -> str:
        """The variable that names the place, and the place, for people."""
        return f"{self._reference.setting} ({self._reference.place})"

    def follow(self, take: Take) -> None:
        """Have `take` called with each new value; it is in use once all have returned.

        A taker that raises, e.g. `SecretRefusedError`, refuses the value; it is offered again, also to those who took
        it, until all do. If it changes back, the value in use is offered too, so that all have the same again. As long
        as nobody follows, no new value is taken.
        """
        self._takers.append(take)

    def leave(self, take: Take) -> None:
        """End what `follow` began."""
        self._takers.remove(take)

    def hurry(self) -> None:
        """Have it read soon: the value in use was refused."""
        self._hurry.set()

    async def refresh(self) -> tuple[Outcome, str]:
        """Read it once; return what came of it, and why if that is no good."""
        outcome, reason = await self._refreshed()
        REFRESHES.labels(self.name, outcome.value).inc()
        return outcome, reason

    async def _refreshed(self) -> tuple[Outcome, str]:
        try:
            text = await in_daemon_thread(self._reference.read, name=f"read-{self.name}")
        except BreakwaterError as error:
            return Outcome.UNREADABLE, explain(error)
        except Exception as error:  # noqa: BLE001  # of a library; the text may quote anything, and the next reading comes
            return Outcome.UNREADABLE, f"{self.name}: it could not be read ({type(error).__name__})"
        LAST_READ.labels(self.name).set_to_current_time()
        is_same = text == self._text
        if is_same and not self._is_mixed:
            return Outcome.UNCHANGED, ""
        keep_secret(text)
        if not self._takers:
            return Outcome.REFUSED, f"{self.name}: the new value takes effect at the next start"
        self._is_mixed = True
        try:
            for take in tuple(self._takers):
                await take(text)
        except Exception as error:  # noqa: BLE001  # whatever went wrong, the old value works and must go on doing so
            return Outcome.REFUSED, f"{self.name}: the new value is not used: {explain(error)}"
        self._text, self._is_mixed = text, False
        return (Outcome.UNCHANGED if is_same else Outcome.TAKEN), ""

    async def pause(self, refresh_s: float) -> None:
        """Wait until the next reading is due."""
        least_s = min(HURRY_PAUSE_S, refresh_s)
        await asyncio.sleep(least_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(refresh_s - least_s):
                await self._hurry.wait()
        self._hurry.clear()


class SecretWatch:
    """Reads one secret again and again, and tells of what does not work: once in a row of failures."""

    def __init__(
        self,
        secret: RotatingSecret,
        *,
        refresh_s: float,
        service: str,
        run_id: str,
        raise_alert: Callable[[Alert], Awaitable[None]] | None,
    ) -> None:
        """Watch over a secret; the arguments are those of `secrets_followed`."""
        self._secret = secret
        self._refresh_s = refresh_s
        self._service = service
        self._run_id = run_id
        self._raise_alert = raise_alert
        self._failures = 0
        self._told = ""

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self._secret.pause(self._refresh_s)
            await self.look()

    async def look(self) -> None:
        """Read the secret once."""
        outcome, reason = await self._secret.refresh()
        log = get_logger().bind(secret=self._secret.name)
        if outcome is Outcome.TAKEN:
            log.info("secret_rotated")
        if outcome in {Outcome.UNCHANGED, Outcome.TAKEN}:
            if self._failures:
                log.info("secret_mended")
            self._failures, self._told = 0, ""
            return
        self._failures += 1
        if self._failures == 1:
            log.warning("secret_not_taken", reason=reason)
        elif reason != self._told:
            self._told = reason
            await self._alert(outcome, reason)

    async def _alert(self, outcome: Outcome, reason: str) -> None:
        now_ms = time.time_ns() // 1_000_000
        name, severity = _ALERTS[outcome.value]
        alert = Alert(
            alert_id=f"{name}/{self._service}/{self._secret.name}/{now_ms}",
            run_id=self._run_id,
            severity=severity,
            service=self._service,
            name=name,
            summary=f"{reason}; the value read before stays in use",
            event_time_ms=now_ms,
            facts={"secret": self._secret.name},
        )
        if self._raise_alert is not None:
            await self._raise_alert(alert)
        else:
            get_logger().warning("alert_raised", name=alert.name, summary=alert.summary, severity=alert.severity.value)


@asynccontextmanager
async def secrets_followed(
    secrets: Iterable[RotatingSecret],
    *,
    refresh_s: float,
    service: str,
    run_id: str,
    raise_alert: Callable[[Alert], Awaitable[None]] | None = None,
) -> AsyncIterator[None]:
    """Read the secrets again and again while the context is open.

    Args:
        secrets: What may change.
        refresh_s: Seconds between two readings of one.
        service: Who raises alerts.
        run_id: Its run.
        raise_alert: Takes alerts; None: they go to the log alone.
    """
    watches = [
        asyncio.create_task(
            SecretWatch(secret, refresh_s=refresh_s, service=service, run_id=run_id, raise_alert=raise_alert).run(),
            name=f"secret-{secret.name}",
        )
        for secret in secrets
    ]
    try:
        yield
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
