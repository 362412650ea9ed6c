"""Environment of signal; every name starts with `SIGNAL_`."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from breakwater_runtime.settings import ServiceSettings


class SignalSettings(ServiceSettings):
    """What signal reads besides the common settings."""

    model_config = SettingsConfigDict(env_prefix="SIGNAL_", frozen=True, extra="forbid")

    checkpoint_interval_s: float = Field(default=2.0, gt=0, le=60)
    """Live: seconds between two checkpoints; in replay there is one per window."""
    queue_limit: int = Field(default=20_000, ge=100)
    """Messages of the market data that may wait in the process; beyond it the bus is asked to wait."""
