"""Checks before anything is traded: key, clock, account, position mode and leverage; failures say what to mend."""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal

from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import CredentialError, ExchangeError, Rejected
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import PositionState
from breakwater_core.decimals import to_text
from breakwater_core.errors import PermanentError
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.logs import get_logger
from executor_service.venue_clock import wall_clock_ms

_CLOCK_TRIES = 3
_EXPIRES_SOON_DAYS = 7


class PreflightError(PermanentError):
    """The account must not be traded as it is; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The checks of one account.

    Attributes:
        symbols: What is to be traded.
        leverage: Leverage set and read back for each symbol; None: neither leverage nor position mode is touched.
        max_clock_skew_ms: Largest difference to the exchange's clock; None: not checked.
    """

    account: str
    symbols: Collection[str]
    leverage: Decimal | None
    max_clock_skew_ms: int | None

    async def run(self, client: BybitClient) -> None:
        """Check and set up the account.

        Raises:
            PreflightError: If something must be changed by a person.
            DependencyError: If the exchange is not reachable.
        """
        try:
            if self.max_clock_skew_ms is not None:
                await self._check_clock(client, self.max_clock_skew_ms)
            await self._check_key(client)
            await self._check_account(client)
            if self.leverage is not None:
                for symbol in self.symbols:
                    await self._set_up(client, symbol, self.leverage)
        except (CredentialError, Rejected, MalformedPayload) as error:
            raise PreflightError(f"account {self.account}: {error}") from error
        except ExchangeError as error:
            raise DependencyError(
                f"account {self.account}: {error}; the executor starts once the exchange answers at its URL"
            ) from error
        get_logger().info("preflight_passed", account=self.account, symbols=len(self.symbols))

    async def _check_clock(self, client: BybitClient, limit_ms: int) -> None:
        skews = []
        for _ in range(_CLOCK_TRIES):
            before_ms = wall_clock_ms()
            server_ms = await client.server_time_ms()
            after_ms = wall_clock_ms()
            late_ms = max(0, server_ms - after_ms)
            early_ms = max(0, before_ms - server_ms)
            skews.append(max(late_ms, early_ms))
        if min(skews) > limit_ms:
            raise PreflightError(
                f"account {self.account}: this machine's clock differs from the exchange's by {min(skews)} ms, "
                f"{limit_ms} ms are allowed; synchronise it, e.g. with chrony"
            )

    async def _check_key(self, client: BybitClient) -> None:
        key = await client.key_information()
        if key.may_withdraw:
            raise PreflightError(
                f"account {self.account}: its key may withdraw money; create one without the right 'Withdraw'"
            )
        if not key.may_trade_contracts:
            raise PreflightError(
                f"account {self.account}: its key may not trade; give it read and write access and the rights "
                "'Contracts - Orders' and 'Contracts - Positions'"
            )
        if key.deadline_day is not None and key.deadline_day <= _EXPIRES_SOON_DAYS:
            get_logger().warning("key_expires_soon", account=self.account, days=key.deadline_day)
        if not key.ips or "*" in key.ips:
            get_logger().warning("key_not_bound_to_addresses", account=self.account)

    async def _check_account(self, client: BybitClient) -> None:
        account = await client.account_info()
        if not account.is_unified:
            raise PreflightError(f"account {self.account} is no unified account; upgrade it at the exchange")
        if not account.is_cross_margin:
            raise PreflightError(
                f"account {self.account} is in margin mode {account.margin_mode}; set it to cross margin, so that all "
                "positions share the balance"
            )

    async def _set_up(self, client: BybitClient, symbol: str, leverage: Decimal) -> None:
        """Set one-way mode and leverage where they differ.

        A position that is open is no reason to refuse over its leverage: its exit must be possible.
        """
        position = await self._one_way_position(client, symbol)
        if position.leverage == leverage:
            return
        stated, problem = position.leverage, ""
        try:
            await client.set_leverage(symbol, leverage)
            stated = (await client.position(symbol)).leverage
        except Rejected as error:
            problem = f" ({error})"
        if stated == leverage:
            return
        message = (
            f"account {self.account}, {symbol}: leverage should be {to_text(leverage)} but reads {stated}{problem}; "
            "set it at the exchange, or EXECUTOR_MARGIN_LEVERAGE to what the symbol allows"
        )
        if position.is_flat:
            raise PreflightError(message)
        get_logger().error("leverage_not_set", reason=message)

    async def _one_way_position(self, client: BybitClient, symbol: str) -> PositionState:
        try:
            return await client.position(symbol)
        except MalformedPayload:  # in hedge mode there is no one-way position
            get_logger().info("position_mode_switched", account=self.account, symbol=symbol)
        try:
            await client.switch_position_mode(symbol=symbol, one_way=True)
        except Rejected as error:
            raise PreflightError(
                f"account {self.account}, {symbol}: it could not be set to one-way mode ({error}); close its position "
                "and open orders, then start again"
            ) from error
        return await client.position(symbol)
