"""Checks before anything is traded: clock, key, account, symbols; each failure says in one line what to mend."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import CredentialError, ExchangeError, Rejected
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import DAY_MS, KeyInformation, PositionState
from breakwater_core.decimals import to_text
from breakwater_core.errors import PermanentError
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.logs import get_logger
from executor_service.egress import EchoError, address_seen_by, bound_addresses, is_within
from executor_service.egress_rule import list_fault
from executor_service.venue_clock import wall_clock_ms

_CLOCK_TRIES = 3
_EXPIRES_SOON_DAYS = 14
_TRADING = "Trading"
SYMBOL_CHECKS = frozenset({"symbols", "leverage", "position_mode"})
"""Names of the checks that concern symbols and not the account."""
_LACKS_RIGHT = 10005
"""Bybit's code for a right that the key lacks; others may be there, e.g. that to exit."""


ADDRESS_REFUSED = 10010
"""Bybit's code for an address that is not on the key's list; it may be mended while the process runs."""


class PreflightError(PermanentError):
    """The account must not be traded as it is; the message says what to change."""


class Status(StrEnum):
    """How a check ended."""

    PASSED = "ok"
    WARNED = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check; `remedy` says what to do unless it passed."""

    name: str
    status: Status
    detail: str
    remedy: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether nothing may be entered because of it."""
        return self.status is Status.FAILED

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one account."""

    account: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.has_failed)

    def summary(self) -> str:
        """Return the failures in one line; empty if there is none."""
        return " | ".join(map(str, self.failures))


@dataclass(frozen=True, slots=True)
class Egress:
    """From where requests should reach the exchange.

    Attributes:
        echo_url: Answers with the address it is asked from, as plain text; None: not asked.
        expected: Addresses or networks that requests may leave from; empty: any.
    """

    echo_url: str | None = None
    expected: tuple[str, ...] = ()


type _Step = Callable[[BybitClient], Awaitable[list[Check]]]


@dataclass(frozen=True, slots=True)
class Preflight:
    """The checks of one account.

    Attributes:
        symbols: What is to be traded.
        leverage: Leverage that each symbol should have; None: neither leverage nor position mode matters.
        max_clock_skew_ms: Largest difference to the exchange's clock; None: not checked.
        egress: From where requests should come.
        sets_up: Whether position mode and leverage are set where they differ, and read back.
    """

    account: str
    symbols: Collection[str]
    leverage: Decimal | None
    max_clock_skew_ms: int | None
    egress: Egress = field(default_factory=Egress)
    sets_up: bool = True

    async def run(self, client: BybitClient) -> Report:
        """Check and set up the account.

        Raises:
            PreflightError: If the exchange refuses the key.
            DependencyError: If the exchange is not reachable.
        """
        checks: list[Check] = []
        try:
            for name, step in self._steps():
                try:
                    checks += await step(client)
                except (Rejected, MalformedPayload) as error:
                    checks.append(Check(name, Status.FAILED, str(error), "mend what the exchange says"))
                except CredentialError as error:
                    if error.ret_code == ADDRESS_REFUSED:
                        checks.append(Check("key_addresses", Status.FAILED, str(error), "mend the egress route"))
                        break  # every other question would get the same answer
                    if error.ret_code != _LACKS_RIGHT:
                        raise
                    checks.append(Check(name, Status.FAILED, str(error), "give the key the right"))
        except CredentialError as error:
            raise PreflightError(f"account {self.account}: {error}") from error
        except ExchangeError as error:
            raise DependencyError(
                f"account {self.account}: {error}; the executor starts once the exchange answers at its URL"
            ) from error
        report = Report(self.account, tuple(checks))
        log = get_logger().bind(account=self.account)
        for check in checks:
            if check.status is not Status.PASSED:
                log.warning("preflight_check", check=check.name, status=check.status.value, detail=str(check))
        log.info("preflight_failed" if report.failures else "preflight_passed", symbols=len(self.symbols))
        return report

    async def require(self, client: BybitClient) -> Report:
        """As `run`, and nothing may fail.

        Raises:
            PreflightError: If a check failed.
            DependencyError: If the exchange is not reachable.
        """
        report = await self.run(client)
        if report.failures:
            raise PreflightError(f"account {self.account}: {report.summary()}")
        return report

    async def examine(self, client: BybitClient) -> Report:
        """Return the outcome of every check; one that gets no answer has failed, and the others go on."""
        checks: list[Check] = []
        for name, step in self._steps():
            try:
                checks += await step(client)
            except (ExchangeError, MalformedPayload) as error:
                remedy = "correct the key" if isinstance(error, CredentialError) else "see what the exchange says"
                checks.append(Check(name, Status.FAILED, str(error), remedy))
        return Report(self.account, tuple(checks))

    def _steps(self) -> list[tuple[str, _Step]]:
        steps: list[tuple[str, _Step]] = [
            ("key", self._check_key),
            ("account", self._check_account),
            ("balance", self._check_balance),
        ]
        if self.symbols:
            steps.append(("symbols", self._check_symbols))
        if self.max_clock_skew_ms is not None:
            steps.insert(0, ("clock", self._check_clock))
        if self.leverage is not None:
            steps.append(("leverage", self._check_leverages))
        return steps

    # -- clock and key -----------------------------------------------------------------------------------------------

    async def _check_clock(self, client: BybitClient) -> list[Check]:
        limit_ms = self.max_clock_skew_ms or 0
        skews = []
        for _ in range(_CLOCK_TRIES):
            before_ms = wall_clock_ms()
            server_ms = await client.server_time_ms()
            after_ms = wall_clock_ms()
            late_ms = max(0, server_ms - after_ms)
            early_ms = max(0, before_ms - server_ms)
            skews.append(max(late_ms, early_ms))
        skew_ms = min(skews)
        return [
            _check(
                "clock",
                skew_ms <= limit_ms,
                f"this machine's clock differs from the exchange's by {skew_ms} ms, {limit_ms} ms are allowed",
                "synchronise the clock, e.g. with chrony",
            )
        ]

    async def _check_key(self, client: BybitClient) -> list[Check]:
        key = await client.key_information()
        return [*self._permissions(key), self._expiry(key), *await self._addresses(key, client)]

    def _permissions(self, key: KeyInformation) -> list[Check]:
        rights = ", ".join(key.permissions.get("ContractTrade", ())) or "none"
        return [
            _check(
                "key_withdrawal",
                not key.may_withdraw,
                "the key may withdraw money" if key.may_withdraw else "the key may not withdraw",
                "create a key without the right 'Withdraw'",
            ),
            _check(
                "key_access",
                not key.read_only,
                "the key is read-only and may not trade" if key.read_only else "read and write",
                "give the key read and write access",
            ),
            _check(
                "key_permissions",
                key.read_only or key.may_trade_contracts,
                f"rights for contracts: {rights}" + ("" if key.may_trade_contracts else ", so it may not trade"),
                "give the key the rights 'Contracts - Orders' and 'Contracts - Positions'",
            ),
        ]

    @staticmethod
    def _expiry(key: KeyInformation) -> Check:
        left = key.deadline_day
        if key.expires_at_ms is not None:
            left = (key.expires_at_ms - wall_clock_ms()) // DAY_MS
        if left is None:
            return Check("key_expiry", Status.PASSED, "the key does not expire")
        if left < 0:
            return Check("key_expiry", Status.FAILED, "the key has expired", "create a new key")
        status = Status.WARNED if left < _EXPIRES_SOON_DAYS else Status.PASSED
        return Check("key_expiry", status, f"{left} days left", "renew the key" if status is Status.WARNED else "")

    async def _addresses(self, key: KeyInformation, client: BybitClient) -> list[Check]:
        bound = bound_addresses(key.ips)
        name = "key_addresses"
        if self.egress.expected and (why_not := list_fault(self.egress.expected, key.ips)):
            checks = [Check(name, Status.FAILED, why_not)]
        elif not bound:
            remedy = "bind the key to the fixed egress address"
            checks = [Check(name, Status.WARNED, "the key is not bound to addresses", remedy)]
        else:
            checks = [Check(name, Status.PASSED, f"bound to {', '.join(bound)}")]
        if self.egress.echo_url is not None:
            checks.append(await self._egress(self.egress.echo_url, bound, client))
        return checks

    async def _egress(self, url: str, bound: tuple[str, ...], client: BybitClient) -> Check:
        name = "egress_address"
        try:
            seen = await address_seen_by(url, exchange_url=client.endpoint)
        except EchoError as error:
            return Check(name, Status.WARNED, str(error), "check EXECUTOR_EGRESS_ECHO_URL and the network's rules")
        if self.egress.expected and not is_within(seen, self.egress.expected):
            expected = ", ".join(self.egress.expected)
            return Check(
                name,
                Status.FAILED,
                f"requests leave from {seen}, expected was {expected}",
                "mend the egress route, or correct EXECUTOR_EGRESS_EXPECTED_IPS",
            )
        if bound and not is_within(seen, bound):
            return Check(
                name,
                Status.FAILED,
                f"requests leave from {seen}, which is not on the key's list ({', '.join(bound)})",
                "add the address to the key's list, or mend the egress route",
            )
        return Check(name, Status.PASSED, f"requests leave from {seen}")

    # -- account -----------------------------------------------------------------------------------------------------

    async def _check_account(self, client: BybitClient) -> list[Check]:
        account = await client.account_info()
        kind = "a unified account" if account.is_unified else "it is no unified account"
        return [
            _check("account_type", account.is_unified, kind, "upgrade the account at the exchange"),
            _check(
                "margin_mode",
                account.is_cross_margin,
                account.margin_mode,
                "set the account to cross margin, so that all positions share the balance",
            ),
        ]

    async def _check_balance(self, client: BybitClient) -> list[Check]:
        wallet = await client.wallet()
        detail = f"{to_text(wallet.equity)} USDT"
        return [_check("balance", wallet.equity > 0, detail, "move USDT into the unified account")]

    # -- symbols -----------------------------------------------------------------------------------------------------

    async def _check_symbols(self, client: BybitClient) -> list[Check]:
        stated = await client.symbol_statuses(self.symbols)
        closed = {symbol: stated.get(symbol, "unknown to the exchange") for symbol in sorted(self.symbols)}
        closed = {symbol: status for symbol, status in closed.items() if status != _TRADING}
        detail = ", ".join(f"{symbol}: {status}" for symbol, status in closed.items())
        return [
            _check(
                "symbols",
                not closed,
                detail or f"{len(self.symbols)} may be traded",
                "wait until they trade, or take them out of portfolio.symbols",
            )
        ]

    async def _check_leverages(self, client: BybitClient) -> list[Check]:
        wanted = Decimal(0) if self.leverage is None else self.leverage
        checks = []
        for symbol in self.symbols:
            checks += await self._check_leverage(client, symbol, wanted)
        failures = [check for check in checks if check.status is not Status.PASSED]
        if failures:
            return failures
        return [
            Check("position_mode", Status.PASSED, "one-way"),
            Check("leverage", Status.PASSED, f"{to_text(wanted)} for {len(self.symbols)} symbols"),
        ]

    async def _check_leverage(self, client: BybitClient, symbol: str, wanted: Decimal) -> list[Check]:
        """Set one-way mode and leverage where they differ.

        A position that is open is no reason to refuse over its leverage: only a warning.
        """
        position = await self._one_way_position(client, symbol)
        if isinstance(position, Check):
            return [position]
        stated, problem = position.leverage, ""
        if stated != wanted and self.sets_up:
            try:
                await client.set_leverage(symbol, wanted)
                stated = (await client.position(symbol)).leverage
            except Rejected as error:
                problem = f" ({error})"
        if stated == wanted:
            return []
        reads = "nothing" if stated is None else to_text(stated)
        return [
            Check(
                "leverage",
                Status.FAILED if position.is_flat and self.sets_up else Status.WARNED,
                f"{symbol}: leverage should be {to_text(wanted)} but reads {reads}{problem}",
                "set it at the exchange, or EXECUTOR_MARGIN_LEVERAGE to what the symbol allows",
            )
        ]

    async def _one_way_position(self, client: BybitClient, symbol: str) -> PositionState | Check:
        try:
            return await client.position(symbol)
        except MalformedPayload as error:  # in hedge mode there is no one-way position
            if not self.sets_up:
                return Check("position_mode", Status.WARNED, str(error), "the executor switches it when it starts")
            get_logger().info("position_mode_switched", account=self.account, symbol=symbol)
        try:
            await client.switch_position_mode(symbol=symbol, one_way=True)
        except Rejected as error:
            return Check(
                "position_mode",
                Status.FAILED,
                f"{symbol} could not be set to one-way mode ({error})",
                "close its position and open orders, then start again",
            )
        return await client.position(symbol)


def _check(name: str, holds: bool, detail: str, remedy: str) -> Check:
    return Check(name, Status.PASSED, detail) if holds else Check(name, Status.FAILED, detail, remedy)
