"""Keeps an account from entering while its requests do not leave from where they should; exits are not asked about.

The address is compared at the start and again and again. Until it was known once nothing is entered; later a check that
learns nothing (the echo service or the exchange does not answer) leaves the last answer in force, a match for some
minutes only. Both roles compare: the account role enters nothing, but it is not ready and raises the alert.

A process that is seen to leave from elsewhere shares no address with the others: what the exchange answers to its
address must not stop their exits, so it keeps a request budget of its own until the route is mended.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import CredentialError, ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_core.events import Alert, Severity
from breakwater_core.verdicts import Refused
from breakwater_runtime.logs import get_logger
from breakwater_runtime.service import Service, until_stopped
from executor_service import metrics
from executor_service.alarm import SERVICE
from executor_service.egress import DEFAULT_ECHO_URL, EchoError, address_seen_by, is_within
from executor_service.egress_rule import TRUST_S, UNCHECKED, Standing, Verdict, judge, next_verdict
from executor_service.exchange_clients import ExchangeClients
from executor_service.preflight import ADDRESS_REFUSED
from executor_service.settings import ExecutorSettings
from executor_service.venue_clock import wall_clock_ms

CONDITION = "egress"
_HOUR_MS = 3_600_000
_LONGEST_PAUSE_S = 10.0
"""Between two checks while entries are kept back, so that a mended route is noticed soon."""


class EgressGuard:
    """Knows the accounts whose requests do not leave from an expected address."""

    def __init__(
        self,
        service: Service,
        clients: Mapping[str, BybitClient],
        *,
        expected: tuple[str, ...],
        look: Callable[[], Awaitable[str]],
        check_s: float,
        move: Callable[[bool], None] = lambda _is_apart: None,
    ) -> None:
        """Guard nothing if no address is expected.

        Args:
            service: Where readiness and alerts go.
            clients: Ask the exchange for each account's key.
            expected: Addresses or networks that requests may leave from.
            look: Returns the address that the world sees, or raises `EchoError`.
            check_s: Seconds between two checks.
            move: Is told whether requests are seen to leave from elsewhere.
        """
        self._service = service
        self._clients = dict(clients) if expected else {}
        self._expected = expected
        self._look = look
        self._check_s = check_s
        self._move = move
        self._trust_s = max(TRUST_S, 2 * check_s)  # so that one check without an answer does no harm
        self._known_s: dict[str, float] = {}
        self._seen: str | None = None
        self._why_not = ""
        self._verdicts = dict.fromkeys(self._clients, UNCHECKED)
        self._told: dict[str, str] = {}

    def refusal(self, account: str) -> Refused | None:
        """Return why the account may not enter, or None if it may."""
        verdict = self._verdicts.get(account)
        if verdict is None or verdict.standing is Standing.MATCHED:
            return None
        return Refused(_rule(verdict), verdict.detail)

    async def look(self) -> None:
        """Ask the echo service, before the exchange is asked anything."""
        if not self._clients:
            return
        self._seen, self._why_not = None, ""
        try:
            self._seen = await self._look()
        except EchoError as error:
            self._why_not = str(error)
        else:
            self._move(not is_within(self._seen, self._expected))

    async def check(self) -> None:
        """Compare the address of every account now."""
        if not self._clients:
            return
        await self.look()
        for account, client in self._clients.items():
            await self._take(account, await self._examine(client, self._seen, self._why_not))
        kept = {account: refused.detail for account in self._clients if (refused := self.refusal(account)) is not None}
        if kept:
            listed = "; ".join(f"{account}: {detail}" for account, detail in sorted(kept.items()))
            self._service.health.fail(CONDITION, f"exits only: {listed}")
        else:
            self._service.health.hold(CONDITION)

    async def run(self, stop: asyncio.Event) -> None:
        """Check again and again until the event is set."""
        while self._clients and not stop.is_set():
            is_kept = any(self.refusal(account) for account in self._clients)
            await until_stopped(stop, asyncio.sleep(min(self._check_s, _LONGEST_PAUSE_S) if is_kept else self._check_s))
            if not stop.is_set():
                await until_stopped(stop, self.check())

    async def _examine(self, client: BybitClient, seen: str | None, why_not: str) -> Verdict:
        try:
            verdict = judge(self._expected, seen=seen, key_ips=(await client.key_information()).ips)
        except CredentialError as error:
            if error.ret_code == ADDRESS_REFUSED:
                return Verdict(Standing.MISMATCHED, f"the exchange refuses the address: {error}")
            verdict, why_not = judge(self._expected, seen=seen, key_ips=None), str(error)
        except (ExchangeError, MalformedPayload) as error:
            verdict, why_not = judge(self._expected, seen=seen, key_ips=None), str(error)
        if verdict.standing is Standing.UNKNOWN:
            return replace(verdict, detail=f"{verdict.detail} ({why_not})")
        return verdict

    async def _take(self, account: str, found: Verdict) -> None:
        before, now_s = self._verdicts[account], time.monotonic()
        age_s = now_s - self._known_s.get(account, now_s)
        verdict = self._verdicts[account] = next_verdict(before, found, age_s=age_s, trust_s=self._trust_s)
        is_matched = verdict.standing is Standing.MATCHED
        metrics.EGRESS_CHECKS.labels(account, found.standing.value).inc()
        metrics.EGRESS_MATCHED.labels(account).set(int(is_matched))
        log = get_logger().bind(account=account)
        if found.standing is Standing.UNKNOWN:
            log.warning("egress_not_known", reason=found.detail)
        else:
            self._known_s[account] = now_s
            metrics.EGRESS_KNOWN.labels(account).set(wall_clock_ms() / 1000)
        if is_matched:
            if before.standing is not Standing.MATCHED:
                log.info("egress_matched", detail=verdict.detail)
            self._told.pop(account, None)
        elif self._told.get(account) != _case(verdict):
            self._told[account] = _case(verdict)
            await self._service.bus.alert(self._alert(account, verdict))

    def _alert(self, account: str, verdict: Verdict) -> Alert:
        now_ms, name = wall_clock_ms(), _rule(verdict)
        digest = hashlib.sha256(_case(verdict).encode()).hexdigest()[:16]
        return Alert(
            alert_id=f"{name}/{account}/{now_ms // _HOUR_MS}/{digest}",
            run_id=self._service.bus.run_id,
            severity=Severity.CRITICAL,
            service=SERVICE,
            name=name,
            summary=f"{account} only exits: {verdict.detail}",
            event_time_ms=now_ms,
            account=account,
            facts={"expected": ", ".join(self._expected)},
        )


def _case(verdict: Verdict) -> str:
    """Return what is told once: why nothing is known may read differently each time, e.g. count seconds."""
    return verdict.standing.value if verdict.standing is Standing.UNKNOWN else verdict.detail


def _rule(verdict: Verdict) -> str:
    return "egress_unknown" if verdict.standing is Standing.UNKNOWN else "egress_mismatch"


def guard_of(settings: ExecutorSettings, service: Service, clients: ExchangeClients) -> EgressGuard:
    """Return the guard that the settings ask for; in a replay it guards nothing, there the preflight compares once."""
    url = settings.echo_url or DEFAULT_ECHO_URL
    return EgressGuard(
        service,
        clients,
        expected=settings.egress_expected_ips if settings.guards_egress else (),
        look=lambda: address_seen_by(url, exchange_url=settings.exchange_url),
        check_s=settings.egress_check_seconds,
        move=clients.move,
    )
