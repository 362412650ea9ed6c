"""The environment that market-data reads; every name starts with `MARKET_DATA_`."""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import SettingsConfigDict

from breakwater_core.identities import check_name
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.settings import ServiceSettings

DAY_MS = 86_400_000
SIGNAL = "signal"
ACCOUNT = "account"


class Mode(StrEnum):
    """Where the market data comes from."""

    LIVE = "live"
    REPLAY = "replay"


class BudgetMode(StrEnum):
    """How requests are held within the exchange's limit of the address."""

    SHARED = "shared"
    """Together with all processes on the bus."""
    OFF = "off"
    """Not at all."""


def _speed(value: object) -> object:
    """Read `max` as no limit."""
    return None if isinstance(value, str) and value.strip().lower() == "max" else value


class MarketDataSettings(ServiceSettings):
    """Environment of market-data."""

    model_config = SettingsConfigDict(env_prefix="MARKET_DATA_", frozen=True, extra="forbid")

    mode: Mode
    """`live`: the exchange's public stream. `replay`: recordings, in lock-step with signal and the account role."""

    recordings: tuple[str, ...] = ()
    """Replay: files, folders of own recordings or SYMBOL=FILE, as a JSON list."""
    start: date | None = None
    """Replay: first day that is played; absent: the first that is complete for at least one symbol."""
    end: date | None = None
    """Replay: last day that is played; absent: the last that is complete for at least one symbol."""
    speed: Annotated[float | None, BeforeValidator(_speed)] = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    """Replay: `max`, or how many times faster than real time."""
    window_s: float | None = Field(default=None, ge=1, le=86_400, allow_inf_nan=False)
    """Replay: event time of a window, seconds; divides the day. Absent: chosen from the rate of trades or the speed."""
    lockstep: tuple[str, ...] = (SIGNAL, ACCOUNT)
    """Replay: participants to wait for, as a JSON list; `account` is waited for at the start and at day boundaries."""

    record_directory: Path | None = None
    """Folder to which trades are recorded as Parquet; absent: none."""
    record_flush_s: float = Field(default=60.0, ge=1, le=86_400)
    """Live: seconds of trades that a crash may cost the recording; each flush makes a file."""

    exchange_url: str = Field(default="https://api.bybit.com", pattern=r"^https?://")
    """Live: base address of the exchange's REST interface."""
    public_stream_url: str = Field(default="wss://stream.bybit.com", pattern=r"^wss?://")
    """Live: base address of the exchange's public stream."""
    budget: BudgetMode = BudgetMode.SHARED
    """Live: whether requests share the budget of all processes on the bus: one address has one limit."""
    address_limit: int = Field(default=600, ge=10, le=100_000)
    """Live: requests of this machine's address within 5 seconds, as the executors have it."""
    clock_interval_s: float = Field(default=0.25, ge=0.01, le=60)
    """Live: seconds between clock messages."""
    clock_sync_interval_s: float = Field(default=30.0, ge=0.1, le=3600)
    """Live: seconds between measurements of the exchange's time."""
    stale_after_s: float = Field(default=60.0, ge=0.1, le=3600)
    """Live: a symbol without a frame for this long, while others have some, is checked over REST."""
    quiet_after_s: float = Field(default=600.0, gt=0, le=86_400)
    """Live: a symbol that nobody has traded for so long, while others are, is an alert."""
    backfill_limit: int = Field(default=1000, ge=1, le=1000)
    """Live: trades asked for over REST to fill a gap."""
    backfill_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Live: seconds that frames of a symbol are held back while its gap is being filled."""
    candle_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Live: seconds after a day's end within which the exchange is expected to have closed its candle."""

    @field_validator("lockstep")
    @classmethod
    def _participants_are_names(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(values)) != len(values):
            raise ValueError("a participant stands twice")
        return tuple(check_name("participant", value) for value in values)

    @field_validator("window_s")
    @classmethod
    def _window_divides_the_day(cls, value: float | None) -> float | None:
        if value is not None and (value * 1000 != round(value * 1000) or DAY_MS % round(value * 1000)):
            raise ValueError("must be whole milliseconds and divide 86400 s, e.g. 60, 900 or 3600")
        return value

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return the settings that the environment describes.

        Raises:
            SettingsError: If a value is missing or absurd, a name is unknown, or values do not go together.
        """
        settings = super().load(environment)
        fault = settings.fault()
        if fault is not None:
            raise SettingsError(fault)
        return settings

    def fault(self) -> str | None:
        """Return what does not go together; None if all does."""
        if self.mode is Mode.REPLAY:
            if not self.recordings:
                return "MARKET_DATA_RECORDINGS: a replay needs at least one recording"
            if self.run_id == LIVE_RUN_ID:
                return "MARKET_DATA_RUN_ID: a replay needs an id of its own, not 'live'"
            if self.start and self.end and self.start > self.end:
                return f"MARKET_DATA_START: {self.start} is after MARKET_DATA_END, {self.end}"
        elif self.run_id != LIVE_RUN_ID:
            return "MARKET_DATA_RUN_ID: must be 'live' when MARKET_DATA_MODE is live"
        elif self.recordings:
            return "MARKET_DATA_RECORDINGS: only a replay reads recordings; set MARKET_DATA_MODE to replay"
        return None

    @property
    def window_ms(self) -> int | None:
        """Event time of a replay window as set, milliseconds."""
        return None if self.window_s is None else round(self.window_s * 1000)
