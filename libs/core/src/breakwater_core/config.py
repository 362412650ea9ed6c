"""The configuration of a run: strategy, portfolio, session, costs, risk. Immutable, validated, hashed.

Unknown keys are refused, so that a misspelt one cannot pass for a default.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import time
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import check_name
from breakwater_core.session import Session


class MovingAveragePrice(StrEnum):
    """Which daily price the moving average is made of."""

    OPEN = "open"
    CLOSE = "close"


class Filter(StrEnum):
    """How the moving average filters entries."""

    TREND = "trend"
    CONTRARIAN = "contrarian"
    NONE = "none"


class Direction(StrEnum):
    """Which sides may be entered."""

    BOTH = "both"
    LONG = "long"
    SHORT = "short"


class IncompleteDays(StrEnum):
    """What to do on a day that is marked incomplete."""

    SKIP = "skip"
    TRADE = "trade"


class Section(BaseModel):
    """Base of the configuration's sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _none_is_a_word(cls, values: Any) -> Any:
        """Read the text `none` as "not set" where a key may be unset; elsewhere it may be a value, as of the filter."""
        if not isinstance(values, dict):
            return values
        unset = {name for name, field in cls.model_fields.items() if field.default is None}
        return {name: None if name in unset and value == "none" else value for name, value in values.items()}


class StrategySettings(Section):
    """Volatility breakout with a moving-average filter."""

    k_long: float = Field(default=0.5, gt=0, le=10, allow_inf_nan=False)
    """Share of the previous day's range above the open that is the long target."""
    k_short: float = Field(default=0.5, gt=0, le=10, allow_inf_nan=False)
    """Share of the previous day's range below the open that is the short target."""
    ma_window: int = Field(default=5, ge=1, le=400)
    """Days in the moving average."""
    ma_price: MovingAveragePrice = MovingAveragePrice.OPEN
    """Price of the moving average: `open` includes the running day's open."""
    filter: Filter = Filter.TREND
    """`trend`, `contrarian` or `none`."""
    direction: Direction = Direction.BOTH
    """`both`, `long` or `short`."""
    stop_loss: float | None = Field(default=None, gt=0, lt=1, allow_inf_nan=False)
    """Loss, as a share of the average entry price, at which a position is closed; none: no stop."""
    noise_days: int | None = Field(default=None, ge=1, le=400)
    """Completed days over which 1 - |O-C|/(H-L) is averaged to give k for both sides; none: k is as set."""


class PortfolioSettings(Section):
    """What is traded and how large."""

    symbols: tuple[str, ...] = ()
    """Venue symbols at equal weight; empty in a replay: those of the recording."""
    accounts: tuple[str, ...] = ("main",)
    """Accounts that every decision is made for."""
    gross_leverage: Decimal = Field(default=Decimal("2.0"), gt=0, le=100)
    """Notional of all positions together / equity at day open."""
    initial_equity: Decimal = Field(default=Decimal(100_000), gt=0, le=Decimal("1e12"))
    """Equity that a paper account starts with, USDT."""

    @field_validator("symbols", "accounts")
    @classmethod
    def _names_are_unique(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(values)) != len(values):
            raise ValueError("an entry stands twice")
        return tuple(check_name("entry", value) for value in values)


def _seconds(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9.]+)\s*(ms|s|m|min|h)?\s*", value)):
        unit = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}[match[2]]
        return float(match[1]) * unit
    return value


class SessionSettings(Section):
    """The trading day."""

    start: time = time(0, 0)
    """Time of day at which a day begins, in `timezone`."""
    timezone: str = "UTC"
    """IANA zone of `start`."""
    exit_lead: Annotated[float, BeforeValidator(_seconds)] = Field(default=30.0, gt=0, lt=12 * 3600)
    """Seconds (or text such as `30s`, `2m`) before the day's end at which the exit window opens."""
    incomplete_days: IncompleteDays = IncompleteDays.SKIP
    """Whether a day marked incomplete may be entered while it runs."""

    @model_validator(mode="after")
    def _zone_exists(self) -> Self:
        self.session()
        return self

    def session(self) -> Session:
        """Return the session that these settings describe."""
        return Session(start=self.start, timezone=self.timezone, exit_lead_ms=round(self.exit_lead * 1000))


class CostSettings(Section):
    """What the paper exchange and the backtests charge."""

    taker_fee: Decimal = Field(default=Decimal("0.00055"), ge=Decimal("-0.01"), le=Decimal("0.05"))
    """Share of the traded value paid by the taker."""
    maker_fee: Decimal = Field(default=Decimal("0.0002"), ge=Decimal("-0.01"), le=Decimal("0.05"))
    """Share of the traded value paid by the maker."""
    latency_ms: int = Field(default=50, ge=0, le=60_000)
    """Time from a request's stamp to its matching, milliseconds."""
    slippage_bps: Decimal = Field(default=Decimal(1), ge=0, le=1000)
    """Distance of a market fill from the last trade, against the taker, basis points."""
    funding_rate: Decimal = Field(default=Decimal(0), ge=Decimal("-0.05"), le=Decimal("0.05"))
    """Funding rate per 8-hour stamp in paper mode, as a fraction; longs pay shorts when positive."""
    slippage_range_share: Decimal = Field(default=Decimal(0), ge=0, le=10)
    """Share of the range of the last minute's trades that a market fill lies further from the last trade."""


class RiskSettings(Section):
    """Limits checked before each entry; none of them can refuse an exit."""

    max_order_notional: Decimal | None = Field(default=None, gt=0)
    """Largest value of one entry, quote currency; none: no limit."""
    max_open_positions: int | None = Field(default=None, ge=1)
    """Largest number of open positions per account; none: no limit."""
    daily_loss_stop: Decimal | None = Field(default=None, gt=0, lt=1)
    """Loss since the day's open, as a share of its equity, after which nothing is entered."""
    drawdown_stop: Decimal | None = Field(default=None, gt=0, lt=1)
    """Drawdown of the deposit-adjusted equity, as a share, after which nothing is entered."""
    entry_valid_for: Annotated[float, BeforeValidator(_seconds)] = Field(default=10.0, gt=0, le=3600)
    """Seconds after its trigger for which an entry may still be sent."""


_LATER_KEYS = (("costs", "slippage_range_share"),)
"""Keys that are not hashed while they have their default: a configuration from before them keeps its version."""


class BreakwaterConfig(Section):
    """Everything that a decision, an order and a paper fill depend on."""

    strategy: StrategySettings = StrategySettings()
    portfolio: PortfolioSettings = PortfolioSettings()
    session: SessionSettings = SessionSettings()
    costs: CostSettings = CostSettings()
    risk: RiskSettings = RiskSettings()

    @classmethod
    def parse(cls, values: object) -> Self:
        """Return the configuration that nested plain values describe.

        Raises:
            InvalidInputError: If a key is unknown or a value out of range; one line per fault, each naming its key.
        """
        if not isinstance(values, dict):
            raise InvalidInputError("the configuration must be a mapping with sections such as 'strategy'")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = [
                f"{'.'.join(str(part) for part in fault['loc']) or 'configuration'}: {_explain(fault)}"
                for fault in error.errors()
            ]
            raise InvalidInputError("; ".join(faults)) from error

    def as_values(self) -> dict[str, Any]:
        """Return the configuration as nested plain values (decimals as text), in a fixed order."""
        return self.model_dump(mode="json")

    @property
    def version(self) -> str:
        """Hash of the whole configuration: 12 hexadecimal digits, written in each intent and order."""
        return version_of_values(self.as_hashed_values())

    def as_hashed_values(self) -> dict[str, Any]:
        """Return the nested plain values that the version is the hash of: keys that came later only if they are set."""
        values = self.as_values()
        for section, key in _LATER_KEYS:
            if getattr(getattr(self, section), key) == type(getattr(self, section)).model_fields[key].default:
                del values[section][key]
        return values


def version_of_values(values: Mapping[str, Any]) -> str:
    """Return the hash of a configuration's nested plain values: 12 hexadecimal digits, whatever the order of keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _explain(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "no such key"
    return f"{str(fault['msg']).removeprefix('Value error, ')} (was {fault['input']!r})"
