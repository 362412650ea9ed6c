"""Settings of a service: read once from the environment; absurd, missing and misspelt names stop the start."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from breakwater_core.config import BreakwaterConfig
from breakwater_core.identities import check_name
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime.config_file import read_config
from breakwater_runtime.errors import SettingsError


class ServiceSettings(BaseSettings):
    """What every service reads, each name after the service's own prefix (e.g. `SIGNAL_NATS_URL`)."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    nats_url: str = "nats://127.0.0.1:4222"
    """Where NATS with JetStream listens."""
    nats_user: str | None = None
    """NATS user of this service; absent: no authentication."""
    nats_password: SecretStr | None = None
    """Password of that user."""
    nats_password_file: Path | None = None
    """File with the password, instead of `nats_password`; read anew at each connection."""
    nats_tls_ca_file: Path | None = None
    """PEM file of the authority that the server's certificate comes from; absent: those of the system. Needs `tls://`."""
    nats_tls_cert_file: Path | None = None
    """PEM file of a client certificate, if the server asks for one."""
    nats_tls_key_file: Path | None = None
    """PEM file of its key."""
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

    @model_validator(mode="after")
    def _nats_settings_fit(self) -> Self:
        if self.nats_password is not None and self.nats_password_file is not None:
            raise ValueError("set one of NATS_PASSWORD and NATS_PASSWORD_FILE")
        if (self.nats_tls_cert_file is None) != (self.nats_tls_key_file is None):
            raise ValueError("set both of NATS_TLS_CERT_FILE and NATS_TLS_KEY_FILE, or neither")
        files = (self.nats_tls_ca_file, self.nats_tls_cert_file)
        if any(files) and not self.nats_url.startswith("tls://"):
            raise ValueError("NATS_TLS_... is set, but NATS_URL does not begin with tls://")
        return self

    def read_nats_password(self) -> str | None:
        """Return the password as it is now.

        Raises:
            SettingsError: If its file cannot be read.
        """
        if self.nats_password_file is None:
            return None if self.nats_password is None else self.nats_password.get_secret_value()
        try:
            return self.nats_password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{self.nats_password_file} cannot be read ({error.strerror})") from error

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

    def configuration(self) -> BreakwaterConfig:
        """Return the strategy configuration.

        Raises:
            InvalidInputError: If the file is absent or wrong.
        """
        return BreakwaterConfig() if self.config_file is None else read_config(self.config_file)
