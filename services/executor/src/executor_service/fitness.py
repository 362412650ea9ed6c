"""Which accounts may enter: those that passed the preflight. The others only exit, and are examined again.

A position may be open when an account is found unfit, and its exit must not wait for a person.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal

from breakwater_bybit.client import BybitClient
from breakwater_core.events import Alert, Severity
from breakwater_core.verdicts import Refused
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.service import Service
from executor_service import metrics
from executor_service.alarm import SERVICE
from executor_service.preflight import SYMBOL_CHECKS, Check, Egress, Preflight, PreflightError, Report, Status
from executor_service.settings import ExecutorSettings
from executor_service.venue_clock import wall_clock_ms

CONDITION = "preflight"
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Examinee:
    """An account, its checks, and what asks the exchange."""

    preflight: Preflight
    client: BybitClient


class Fitness:
    """Knows the accounts that may not enter, and why."""

    def __init__(self, service: Service, examinees: Mapping[str, Examinee], *, retry_s: float, is_strict: bool) -> None:
        """Examine unfit accounts again every `retry_s` seconds; if strict, one of them ends the start instead."""
        self._service = service
        self._examinees = dict(examinees)
        self._retry_s = retry_s
        self._is_strict = is_strict
        self._obstacles: dict[str, str] = {}

    def obstacle(self, account: str) -> str | None:
        """Return why the account may not enter, or None if it may."""
        return self._obstacles.get(account)

    def refusal(self, account: str) -> Refused | None:
        """Return the answer to an entry of the account, or None if it may enter."""
        reason = self.obstacle(account)
        return None if reason is None else Refused("preflight_failed", reason)

    async def begin(self) -> None:
        """Examine every account.

        Where the exchange refuses the key of one account, the others are traded all the same: their exits must not wait
        for it.

        Raises:
            PreflightError: If the exchange refuses every key, or a check failed and failures are not tolerated.
            DependencyError: If the exchange is not reachable.
        """
        refused: dict[str, PreflightError] = {}
        for account, examinee in self._examinees.items():
            run = examinee.preflight.require if self._is_strict else examinee.preflight.run
            try:
                await self._take(account, await run(examinee.client))
            except PreflightError as error:
                if self._is_strict:
                    raise
                refused[account] = error
        for account, refusal in refused.items():
            if len(refused) == len(self._examinees):
                raise refusal
            check = Check("key", Status.FAILED, str(refusal), "give it a good key")
            await self._take(account, Report(account, (check,)))

    async def examine(self, account: str, client: BybitClient) -> Report:
        """Examine an account through another client than its own, e.g. under a new key; nothing follows from it yet.

        Raises:
            PreflightError: If the exchange refuses the key.
            DependencyError: If the exchange is not reachable.
        """
        return await self._examinees[account].preflight.run(client)

    def hold(self, account: str, reason: str) -> None:
        """Let the account enter nothing until the next examination's outcome; nobody is told, as that comes soon."""
        self._obstacles[account] = reason
        self._show()

    async def take(self, account: str, report: Report) -> None:
        """Let the account enter, or not, by what an examination has found."""
        await self._take(account, report)

    async def admit(self, symbols: Sequence[str]) -> list[str]:
        """Examine further symbols and set them up in every account; return what failed, one line for each account.

        What fails concerns these symbols alone: it keeps no account from entering others.

        Raises:
            PreflightError: If the exchange refuses a key.
            DependencyError: If the exchange is not reachable.
        """
        problems = []
        for account, examinee in self._examinees.items():
            report = await replace(examinee.preflight, symbols=tuple(symbols)).run(examinee.client)
            failures = [check for check in report.failures if check.name in SYMBOL_CHECKS]
            if failures:
                problems.append(f"{account}: {' | '.join(map(str, failures))}")
        if not problems:
            for account, examinee in self._examinees.items():
                wider = replace(examinee.preflight, symbols=(*examinee.preflight.symbols, *symbols))
                self._examinees[account] = replace(examinee, preflight=wider)
        return problems

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Examine the unfit accounts again and again while the context is open."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch(), name="preflight")
            try:
                yield
            finally:
                watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._retry_s)
            for account in list(self._obstacles):
                examinee = self._examinees[account]
                try:
                    await self._take(account, await examinee.preflight.run(examinee.client))
                except (PreflightError, DependencyError) as error:
                    get_logger().warning("preflight_not_repeated", account=account, reason=str(error))

    async def _take(self, account: str, report: Report) -> None:
        metrics.PREFLIGHT_FAILURES.labels(account).set(len(report.failures))
        if report.failures:
            is_new = self._obstacles.get(account) != report.summary()
            self._obstacles[account] = report.summary()
            if is_new:
                await self._service.bus.alert(self._alert(report))
        else:
            self._obstacles.pop(account, None)
        self._show()

    def _show(self) -> None:
        if self._obstacles:
            listed = "; ".join(f"{name}: {reason}" for name, reason in sorted(self._obstacles.items()))
            self._service.health.fail(CONDITION, f"exits only: {listed}")
        else:
            self._service.health.hold(CONDITION)

    def _alert(self, report: Report) -> Alert:
        now_ms = wall_clock_ms()
        digest = hashlib.sha256(report.summary().encode()).hexdigest()[:16]
        return Alert(
            alert_id=f"preflight_failed/{report.account}/{now_ms // _DAY_MS}/{digest}",
            run_id=self._service.bus.run_id,
            severity=Severity.CRITICAL,
            service=SERVICE,
            name="preflight_failed",
            summary=f"{report.account} only exits: {report.summary()}",
            event_time_ms=now_ms,
            account=report.account,
            facts={check.name: str(check) for check in report.failures},
        )


def fitness_of(
    settings: ExecutorSettings,
    service: Service,
    clients: Mapping[str, BybitClient],
    *,
    symbols: Sequence[str],
    leverage: Decimal | None,
) -> Fitness:
    """Return the examination of every account; in a replay nothing is held, so there a failure ends the start.

    Args:
        settings: Egress, unless `EgressGuard` watches over it, and clock.
        service: Where readiness and alerts go.
        clients: The accounts.
        symbols: What is to be traded.
        leverage: Set and read back per symbol; None: neither leverage nor position mode is touched.
    """
    egress = Egress() if settings.guards_egress else Egress(settings.echo_url, settings.egress_expected_ips)
    examinees = {
        name: Examinee(
            Preflight(
                account=name,
                symbols=tuple(symbols),
                leverage=leverage,
                max_clock_skew_ms=None if settings.is_event_time else settings.max_clock_skew_ms,
                egress=egress,
            ),
            client,
        )
        for name, client in clients.items()
    }
    return Fitness(service, examinees, retry_s=settings.preflight_retry_s, is_strict=settings.is_event_time)
