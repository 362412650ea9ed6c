"""Environment of signal; every name starts with `SIGNAL_`."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from breakwater_runtime.settings import ServiceSettings


class SignalSettings(ServiceSettings):
    """What signal reads besides the common settings."""

    model_config = SettingsConfigDict(env_prefix="SIGNAL_", frozen=True, extra="forbid")

    checkpoint_interval_s: float = Field(default=2.0, gt=0, le=60)
    """Live: seconds between two checkpoints; in replay there is one per window."""
    near_target_ratio: float = Field(default=0.005, gt=0, le=1)
    """`/scaling`: a symbol is near its target if an entry is no further away than this share of the price."""
    exits_due_within_s: float = Field(default=300.0, gt=0, le=43_200)
    """`/scaling`: exits count as due so long before the exit window opens, in venue time."""
    scaling_poll_s: float = Field(default=2.0, ge=0.05, le=60)
    """`/scaling`: seconds between two readings of the executors' queues."""
    queue_limit: int = Field(default=20_000, ge=100)
    """Messages of the market data that may wait in the process; beyond it the bus is asked to wait."""
