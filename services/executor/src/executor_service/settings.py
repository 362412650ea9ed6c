"""Environment of the executor; every name starts with `EXECUTOR_`."""

import os
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from breakwater_core.errors import InvalidInputError
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.settings import ServiceSettings
from executor_service.account_keys import AccountKey, keys_of_text
from executor_service.egress import DEFAULT_ECHO_URL, check_networks, networks_of
from executor_service.unordered import Unordered
from executor_service.venue_clock import ClockMode

_SHARED_PREFIX = "BREAKWATER_"
_SHARED = ("egress_expected_ips", "egress_echo_url", "egress_check_seconds")
"""Settings that describe the installation and not this service alone: `BREAKWATER_EGRESS_...` is read too."""


class Role(StrEnum):
    """What a process does."""

    ORDER = "order"
    ACCOUNT = "account"


class BudgetMode(StrEnum):
    """How requests are held within the exchange's limits."""

    SHARED = "shared"
    """Together with all processes on the bus."""
    PROCESS = "process"
    """By this process alone, as if it were the only one."""
    OFF = "off"
    """Not at all."""


class ExecutorSettings(ServiceSettings):
    """What the executor reads besides the common settings; times in seconds."""

    model_config = SettingsConfigDict(env_prefix="EXECUTOR_", frozen=True, extra="forbid")

    role: Role = Role.ORDER
    """`order`: intents in, orders out. `account`: private stream in, fills and snapshots out."""
    accounts: SecretStr | None = None
    """JSON list of `{"name", "api_key", "api_secret"}`; needed."""
    exchange_url: str = "https://api.bybit.com"
    """Base URL of the REST interface."""
    private_stream_url: str = "wss://stream.bybit.com"
    """Base URL of the private stream."""
    clock: ClockMode = ClockMode.WALL
    """`wall`, or in a replay `event`: requests are stamped with the time of the event that caused them."""
    request_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Limit for connecting and for each pause of an answer; in event mode 15, as the exchange waits for data."""
    budget: BudgetMode | None = None
    """How requests are held within Bybit's limits; absent: `shared`, in event mode `off`."""
    address_limit: int = Field(default=600, ge=10, le=100_000)
    """Requests of this machine's address within 5 seconds, all processes together; less where others use it too."""
    ban_s: float = Field(default=600.0, ge=1, le=3600)
    """Nothing is sent for so long after the exchange has refused the address (403); Bybit asks for ten minutes."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Entries begin only while fewer orders are in hand; orders that reduce a position never wait."""
    ack_wait_s: float = Field(default=10.0, ge=1, le=300)
    """An intent whose executor has died is taken over after this."""
    margin_leverage: Decimal = Field(default=Decimal(10), ge=1, le=100)
    """Leverage set at the exchange for each symbol; positions are sized by `portfolio.gross_leverage`, not by this."""
    unknown_alert_s: float = Field(default=10.0, gt=0, le=3600)
    """An order of which nobody knows whether it exists raises an alert after this."""
    unknown_limit_s: float = Field(default=120.0, ge=30, le=3600)
    """An entry that is still not found out is closed as UNKNOWN after this; after `settle_s` once its exit is due."""
    settle_s: float = Field(default=7.0, ge=5.5, le=60)
    """An order is not declared absent earlier than this after it was sent; above Bybit's receive window of 5 s."""
    flat_deadline_s: float = Field(default=20.0, gt=0, le=3600)
    """A position still open so long after its exit was due raises an alert; at most 2/3 of the exit lead."""
    exit_spread_s: float = Field(default=2.0, ge=0, le=60)
    """Wall clock: the exits of a day begin evenly over this time, at most over a quarter of the exit lead."""
    flatten_deadline_s: float = Field(default=60.0, gt=0, le=3600)
    """An account that is not proven flat so long after a flatten was ordered raises an alert."""
    max_clock_skew_ms: int = Field(default=1000, ge=10, le=5000)
    """Largest difference between this machine's clock and the exchange's, milliseconds."""
    egress_echo_url: str | None = Field(default=None, pattern="^https?://")
    """Answers with the address that it is asked from, as plain text or `{"ip": ...}`; absent: a public one, and only
    where addresses are expected."""
    egress_expected_ips: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses or networks that requests leave from, separated by commas; each key's own list must cover them.
    Empty: not checked."""
    egress_check_seconds: float = Field(default=60.0, ge=0.1, le=3600)
    """Wall clock: the address is compared so often; at most every 10 s while it does not match."""
    preflight_retry_s: float = Field(default=60.0, ge=0.1, le=3600)
    """An account whose checks failed is examined again so often; meanwhile it only exits."""
    catch_up_interval_s: float = Field(default=30.0, ge=1, le=3600)
    """Account role: executions are read over REST so often, besides each (re)connection."""
    catch_up_overlap_s: float = Field(default=600.0, ge=10, le=86_400)
    """Account role: how far behind the last reading each one begins."""
    snapshot_interval_s: float = Field(default=30.0, ge=1, le=3600)
    """Account role, wall clock: seconds between two snapshots."""
    day_open_wait_s: float = Field(default=60.0, ge=0, le=3600)
    """Account role, wall clock: how long a day's open waits for flat positions before it is taken anyway."""

    reconcile_interval_s: float = Field(default=60.0, ge=0.1, le=3600)
    """Account role, wall clock: orders, positions and wallet are compared with the books so often."""
    reconcile_confirm_s: float = Field(default=5.0, ge=0, le=60)
    """Account role, wall clock: a difference counts if it is the same after this."""
    wallet_tolerance: Decimal = Field(default=Decimal(0), ge=0, le=1)
    """Account role: wallets up to this far apart are equal, USDT."""
    unordered: Unordered = Unordered.REPORT
    """Account role: what is done with a position that nobody ordered: `report`, `adopt` or `close`."""

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.accounts is None:
            raise ValueError("set one of EXECUTOR_ACCOUNTS, EXECUTOR_ACCOUNTS_FILE and EXECUTOR_ACCOUNTS_FROM")
        return self

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return the settings that the environment describes.

        Raises:
            SettingsError: If a value is missing or absurd, or a name under the prefix is unknown.
        """
        values = os.environ if environment is None else environment
        known = {f"{_SHARED_PREFIX}{name}".upper() for name in _SHARED}
        unknown = sorted(name for name in values if name.startswith(f"{_SHARED_PREFIX}EGRESS_") and name not in known)
        if unknown:
            raise SettingsError(f"no such setting: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return super().load(environment)

    @classmethod
    def settings_customise_sources(  # the signature is the library's
        cls, settings_cls: type[BaseSettings], *args: PydanticBaseSettingsSource, **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the installation's settings last, so that the service's own names win."""
        shared = {name: os.environ.get(f"{_SHARED_PREFIX}{name}".upper()) for name in _SHARED}
        given = {name: value for name, value in shared.items() if value is not None}
        others = super().settings_customise_sources(settings_cls, *args, **sources)
        return (*others, InitSettingsSource(settings_cls, given))

    @field_validator("egress_expected_ips", mode="before")
    @classmethod
    def _is_list(cls, value: object) -> object:
        return networks_of(value) if isinstance(value, str) else value

    @field_validator("egress_expected_ips")
    @classmethod
    def _are_networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return check_networks(values)
        except InvalidInputError as error:
            raise ValueError(str(error)) from error

    @field_validator("egress_echo_url", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return value or None

    def traced_as(self, name: str) -> str:
        """Return the role's name, e.g. `executor-order`."""
        return f"{name}-{self.role.value}"

    @property
    def guards_egress(self) -> bool:
        """Whether the egress address is compared again and again, and entries wait for it."""
        return bool(self.egress_expected_ips) and not self.is_event_time

    @property
    def echo_url(self) -> str | None:
        """The echo service to ask; None: the address does not matter."""
        return self.egress_echo_url or (DEFAULT_ECHO_URL if self.egress_expected_ips else None)

    @property
    def is_event_time(self) -> bool:
        """Whether requests are stamped with event time."""
        return self.clock is ClockMode.EVENT

    @property
    def budget_mode(self) -> BudgetMode:
        """How requests are held within the exchange's limits."""
        return self.budget or (BudgetMode.OFF if self.is_event_time else BudgetMode.SHARED)

    def account_keys(self) -> tuple[AccountKey, ...]:
        """Return the accounts and their keys.

        Raises:
            SettingsError: If they cannot be read; the message holds no part of them.
        """
        text = "" if self.accounts is None else self.accounts.get_secret_value()
        rotating = self.rotating_secret("accounts")
        return keys_of_text(text, "EXECUTOR_ACCOUNTS" if rotating is None else rotating.origin)
