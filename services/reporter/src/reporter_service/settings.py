"""Settings of the reporter."""

from decimal import Decimal
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from breakwater_runtime.settings import ServiceSettings
from reporter_service.database import check_url

DEFAULT_DATABASE_URL = "sqlite:///var/breakwater.db"


class ReporterSettings(ServiceSettings):
    """Environment of the reporter; every name starts with `REPORTER_`."""

    model_config = SettingsConfigDict(env_prefix="REPORTER_", frozen=True)

    database_url: SecretStr = SecretStr(DEFAULT_DATABASE_URL)
    """`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`."""
    migrate: bool = True
    """Bring the database's tables up to date at the start."""
    fills_wait_s: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds that a day's closing waits for fills which the account has counted and the database has not; then the
    day is closed with an alert."""
    ledger_tolerance: Decimal = Field(default=Decimal("0.000001"), ge=0, le=1000)
    """Difference between the exchange's wallet balance and the ledger that is no mismatch, quote currency."""
    recordings: Path | None = None
    """Folder that market-data records to (`MARKET_DATA_RECORD_DIRECTORY`): each closed day is compared with the
    backtest of its recording; absent: no day is."""
    parity_interval_s: float = Field(default=30.0, gt=0, le=3600)
    """Seconds between two looks for days to compare."""
    parity_wait_s: float = Field(default=1800.0, ge=0, le=86_400)
    """Seconds after a day's end, and that of its UTC day, for which the recording may still be incomplete; then the day
    is not comparable."""
    parity_tolerance_bps: Decimal = Field(default=Decimal(1), ge=0, le=1000)
    """Prices and fees that differ by no more than this are told to be equal, basis points; they count in the total."""
    parity_tolerance_ms: int = Field(default=5000, ge=0, le=3_600_000)
    """Executions that are apart by no more than this are told to be equal, milliseconds."""
    database_alert_s: float = Field(default=30.0, ge=0, le=3600)
    """Seconds after which a database that does not answer is an alert."""
    metrics_interval_s: float = Field(default=10.0, ge=0.1, le=600)
    """Seconds between two readings of what only database and bus know, for `/metrics`."""
    workers: int = Field(default=16, ge=1, le=256)
    """Messages of one stream in hand at once; they share commits."""

    @field_validator("database_url")
    @classmethod
    def _is_supported(cls, value: SecretStr) -> SecretStr:
        check_url(value.get_secret_value())
        return value
