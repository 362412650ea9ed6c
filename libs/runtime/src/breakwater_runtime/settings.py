"""Settings of a service: read once from the environment; absurd, missing and misspelt names stop the start."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from breakwater_core.config import BreakwaterConfig
from breakwater_core.identities import check_name
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime.config_file import read_config
from breakwater_runtime.errors import SettingsError


def _of_all_services(name: str) -> Callable[[], str | None]:
    """Return the default of a setting that the installation may set for all of its services at once."""
    return lambda: os.environ.get(f"BREAKWATER_{name}") or None


class ServiceSettings(BaseSettings):
    """What every service reads, each name after the service's own prefix (e.g. `SIGNAL_NATS_URL`)."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    nats_url: str = "nats://127.0.0.1:4222"
    """Where NATS with JetStream listens."""
    nats_user: str | None = None
    """NATS user of this service; absent: no authentication."""
    nats_password: SecretStr | None = None
    """Password of that user."""
    run_id: str = LIVE_RUN_ID
    """`live`, or the id of a replay; messages of other runs are passed over."""
    config_file: Path | None = None
    """YAML or JSON of the strategy configuration; absent: the defaults."""
    http_host: str = "127.0.0.1"
    """Address on which health and metrics are served."""
    http_port: int = Field(default=0, ge=0, le=65535)
    """Port of health and metrics; 0 takes a free one."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    """Least level that is logged."""
    drain_timeout_s: float = Field(default=8.0, gt=0, le=600)
    """Seconds that work in hand has to finish after SIGTERM."""
    instance: str = "0"
    """Name of this process among those of its kind."""
    otlp_endpoint: str | None = Field(
        default_factory=_of_all_services("OTLP_ENDPOINT"), pattern=r"^https?://[^\s@]+$", validate_default=True
    )
    """Base address of an OTLP/HTTP collector that spans go to, e.g. `http://127.0.0.1:4318`; absent: no tracing. This
    and the next two are also read from `BREAKWATER_OTLP_...`, for all services of an installation."""
    otlp_headers: SecretStr | None = Field(default_factory=_of_all_services("OTLP_HEADERS"), validate_default=True)
    """Headers of each request to it, e.g. `authorization=Bearer%20...`; several separated by commas."""
    otlp_sample_ratio: float = Field(
        default_factory=lambda: _of_all_services("OTLP_SAMPLE_RATIO")() or 1.0, ge=0, le=1, validate_default=True
    )
    """Share of intents that are traced; which ones follows from their ids, so all services choose alike."""

    @field_validator("otlp_endpoint", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return value or None

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return the settings that the environment describes.

        Raises:
            SettingsError: If a value is missing or absurd, or a name under the prefix is unknown.
        """
        values = os.environ if environment is None else environment
        prefix = cls.model_config.get("env_prefix", "")
        known = {f"{prefix}{name}".upper() for name in cls.model_fields}
        unknown = sorted(name for name in values if name.upper().startswith(prefix) and name.upper() not in known)
        if unknown:
            raise SettingsError(f"no such setting: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        try:
            settings = cls()
        except ValidationError as error:
            faults = (
                f"{prefix}{str(fault['loc'][0]).upper() if fault['loc'] else '*'}: {fault['msg']}"
                for fault in error.errors()
            )
            raise SettingsError("; ".join(faults)) from error
        check_name(f"{prefix}RUN_ID", settings.run_id)
        check_name(f"{prefix}INSTANCE", settings.instance)
        return settings

    def traced_as(self, name: str) -> str:
        """Return the name under which spans of the service `name` are shown."""
        return name

    def configuration(self) -> BreakwaterConfig:
        """Return the strategy configuration.

        Raises:
            InvalidInputError: If the file is absent or wrong.
        """
        return BreakwaterConfig() if self.config_file is None else read_config(self.config_file)
