"""The environment of the paper exchange; every name starts with `PAPER_EXCHANGE_`."""

from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import check_name
from breakwater_recordings.funding import read_funding
from breakwater_recordings.instruments import DEFAULT_SYMBOLS
from breakwater_runtime.secret_settings import SECRET
from breakwater_runtime.settings import ServiceSettings
from paper_exchange_service.engine.accounts import Credentials
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.fault_rules import NO_RULES, FaultRules, parse_rules


class Mode(StrEnum):
    """Where time comes from."""

    REAL_TIME = "realtime"
    REPLAY = "replay"


class AccountSettings(BaseModel):
    """One account and its key."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    """Name of the account."""
    key: str = Field(min_length=1, repr=False)
    """API key."""
    secret: SecretStr
    """API secret."""
    usdt: Decimal = Field(default=Decimal(100_000), ge=0)
    """First deposit, USDT."""
    read_only: bool = False
    """The key may look but not trade."""
    ips: tuple[str, ...] = ()
    """Addresses that may use the key; empty: any."""
    expires_ms: int | None = None
    """When the key expires, milliseconds UTC; absent: never."""
    permissions: tuple[str, ...] = ("Order", "Position")
    """Bybit's contract-trading rights of the key."""
    wallet_permissions: tuple[str, ...] = ()
    """Bybit's wallet rights of the key, e.g. `Withdraw`; they are stated, and open nothing here."""

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        return check_name("account", value)

    @property
    def credentials(self) -> Credentials:
        """The key as the engine keeps it."""
        return Credentials(
            key=self.key,
            secret=self.secret.get_secret_value(),
            read_only=self.read_only,
            ips=self.ips,
            expires_ms=self.expires_ms,
            permissions=self.permissions,
            wallet_permissions=self.wallet_permissions,
        )


Price = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[Decimal, Field(ge=Decimal("-0.05"), le=Decimal("0.05"))]


class PaperExchangeSettings(ServiceSettings):
    """Environment of the paper exchange. Costs that are absent here come from the configuration file's `costs`."""

    model_config = SettingsConfigDict(env_prefix="PAPER_EXCHANGE_", frozen=True, extra="forbid")

    mode: Mode = Mode.REAL_TIME
    """`realtime`: prices follow the wall clock. `replay`: prices and time come from the bus."""
    accounts: Annotated[tuple[AccountSettings, ...], SECRET] = ()
    """Accounts as a JSON list of name, key, secret, usdt; empty: those of the configuration, with keys
    `paper-key-<name>` and secrets `paper-secret-<name>`."""
    recordings: tuple[str, ...] = ()
    """Real time: files, folders or SYMBOL=FILE to play; empty: the synthetic market. Replay: what market-data plays,
    for the first prices in it, where `reference_prices` says nothing."""
    synthetic_seed: int = 1
    """Real time: which synthetic market."""
    synthetic_trades_per_day: int = Field(default=100_000, ge=100, le=20_000_000)
    """Real time: average trades a day of all synthetic symbols together."""
    synthetic_history_days: int = Field(default=30, ge=1, le=400)
    """Real time: days of synthetic history before today."""
    reference_prices: dict[str, Price] = Field(default_factory=dict)
    """JSON object of symbol and a usual price: trading rules of symbols that must be known before their first trade.
    Without it, a symbol that is not among the ten of the synthetic market is known from its first trade on."""
    latency_ms: int | None = Field(default=None, ge=0, le=60_000)
    """Time from a request's stamp to its matching, milliseconds."""
    taker_fee: Share | None = None
    """Share of the value paid by the taker."""
    maker_fee: Share | None = None
    """Share of the value paid by the maker."""
    slippage_bps: Decimal | None = Field(default=None, ge=0, le=1000)
    """Distance of a market fill from the last trade, basis points."""
    slippage_range_share: Decimal | None = Field(default=None, ge=0, le=10)
    """Share of the range of the last minute's trades that a market fill lies further from the last trade."""
    funding_rate: Share | None = None
    """Funding rate per 8-hour stamp, as a fraction."""
    funding_file: Path | None = None
    """CSV (may be gzipped) of symbol, timestamp (ms), funding_rate: recorded rates; stamps of which it says
    nothing have the constant."""
    depth_notional: Decimal | None = Field(default=None, ge=100)
    """Value per price level, quote currency; absent: the first level holds everything."""
    band_ratio: Decimal = Field(default=Decimal("0.05"), gt=0, lt=1)
    """Largest distance of a market order's fills from the last trade, as a share."""
    rate_limits: bool | None = None
    """Whether request limits are enforced; absent: in real time only. Breaches are counted in any case."""
    ip_ban_s: float = Field(default=600.0, ge=0, le=86_400)
    """Seconds for which an address is refused after it exceeded its limit."""
    ack_delay_ms: float = Field(default=8.0, ge=0, le=1000)
    """Real time: least time between a signed request and its answer, milliseconds."""
    queue_frames: int = Field(default=20_000, ge=10, le=1_000_000)
    """Frames that may wait for a slow socket before it is closed."""
    address_limit: int = Field(default=600, ge=1, le=1_000_000)
    """Requests of one address within 5 seconds."""
    endpoint_limits: dict[str, Annotated[int, Field(ge=1, le=100_000)]] = Field(default_factory=dict)
    """JSON object of endpoint and requests per second and account, e.g. `{"order/create": 20}`; absent ones: Bybit's
    limits without VIP tier."""
    faults: str = ""
    """Faults from the start: JSON text, or the path of a JSON file, as `PUT /paper/faults` takes it."""

    @field_validator("accounts")
    @classmethod
    def _are_distinct(cls, values: tuple[AccountSettings, ...]) -> tuple[AccountSettings, ...]:
        for kind, names in (("name", [value.name for value in values]), ("key", [value.key for value in values])):
            if len(set(names)) != len(names):
                raise ValueError(f"two accounts have the same {kind}")
        return values

    def fault_rules(self, now_ms: int) -> FaultRules:
        """Return the faults from the start; `now_ms` is the exchange's clock, 0 if it has none yet.

        Raises:
            InvalidInputError: If the file cannot be read, or a rule is wrong.
        """
        text = self.faults.strip()
        if not text:
            return NO_RULES
        try:
            return parse_rules(text if text.startswith("{") else Path(text).read_bytes(), now_ms)
        except OSError as error:
            raise InvalidInputError(f"PAPER_EXCHANGE_FAULTS: {text} cannot be read: {error.strerror}") from error
        except InvalidInputError as error:
            raise InvalidInputError(f"PAPER_EXCHANGE_FAULTS: {error}") from error

    def accounts_of(self, config: BreakwaterConfig) -> tuple[AccountSettings, ...]:
        """Return the accounts to open."""
        return self.accounts or tuple(
            AccountSettings(
                name=name,
                key=f"paper-key-{name}",
                secret=SecretStr(f"paper-secret-{name}"),
                usdt=config.portfolio.initial_equity,
            )
            for name in config.portfolio.accounts
        )

    def symbols_of(self, config: BreakwaterConfig) -> tuple[str, ...]:
        """Return the symbols of the synthetic market."""
        return config.portfolio.symbols or DEFAULT_SYMBOLS

    def costs_of(self, config: BreakwaterConfig) -> Costs:
        """Return what the exchange charges: this environment's values, else those of the configuration.

        Raises:
            InvalidInputError: If the funding file cannot be read.
        """
        costs = config.costs
        slippage_bps = costs.slippage_bps if self.slippage_bps is None else self.slippage_bps
        return Costs(
            taker_fee=costs.taker_fee if self.taker_fee is None else self.taker_fee,
            maker_fee=costs.maker_fee if self.maker_fee is None else self.maker_fee,
            slippage_ratio=slippage_bps / 10_000,
            slippage_range_share=costs.slippage_range_share
            if self.slippage_range_share is None
            else self.slippage_range_share,
            latency_ms=costs.latency_ms if self.latency_ms is None else self.latency_ms,
            depth_notional=self.depth_notional,
            band_ratio=self.band_ratio,
            funding_rate=costs.funding_rate if self.funding_rate is None else self.funding_rate,
            funding=None if self.funding_file is None else read_funding(self.funding_file),
        )


def accounts_of_text(text: str) -> tuple[AccountSettings, ...]:
    """Return the accounts of a JSON list, as `PAPER_EXCHANGE_ACCOUNTS` has it.

    Raises:
        InvalidInputError: If it is none; the message holds no part of it.
    """
    try:
        return TypeAdapter(tuple[AccountSettings, ...]).validate_json(text)
    except ValidationError:
        raise InvalidInputError("it is no JSON list of accounts with name, key and secret") from None


def parse_account(text: str, number: int) -> AccountSettings:
    """Return the account that `KEY:SECRET:USDT` on a command line describes; its name is `main`, `account-2`, ...

    Raises:
        InvalidInputError: If the text is not of that form.
    """
    key, first, rest = text.partition(":")
    secret, second, usdt = rest.rpartition(":")
    try:
        if not (first and second and key and secret):
            raise ValueError
        return AccountSettings(
            name="main" if number == 1 else f"account-{number}", key=key, secret=SecretStr(secret), usdt=Decimal(usdt)
        )
    except (ValueError, ArithmeticError) as error:
        raise InvalidInputError("--account takes KEY:SECRET:USDT, e.g. my-key:my-secret:100000") from error
