"""Settings of a service: read once from the environment; absurd, missing and misspelt names stop the start."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableValueError

from breakwater_core.config import BreakwaterConfig
from breakwater_core.identities import check_name
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime.config_file import read_config
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.redaction import blank, keep_secret
from breakwater_runtime.secret_rotation import RotatingSecret
from breakwater_runtime.secret_settings import secret_fields, secrets_given
from breakwater_runtime.secret_sources import SecretReference

HOSTNAME = "hostname"
"""Instance name that stands for that of the machine: replicas of one container definition differ in nothing else."""


def _of_all_services(name: str) -> Callable[[], str | None]:
    """Return the default of a setting that the installation may set for all of its services at once."""
    return lambda: os.environ.get(f"BREAKWATER_{name}") or None


class ServiceSettings(BaseSettings):
    """What every service reads, each name after the service's own prefix (e.g. `SIGNAL_NATS_URL`).

    A secret `X` is given as `X`, as `X_FILE` (path of a file) or as `X_FROM` (`s3://`, `secretsmanager://`, `file://`).
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    nats_url: str = "nats://127.0.0.1:4222"
    """Where NATS with JetStream listens."""
    nats_user: str | None = None
    """NATS user of this service; absent: no authentication."""
    nats_password: SecretStr | None = None
    """Password of that user."""
    secrets_refresh_s: float = Field(default=30.0, ge=0.05, le=3600)
    """Secrets that were given by `_FILE` or `_FROM` are read again so often, seconds."""
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
    """Name of this process among those of its kind; `hostname` stands for the name of its machine or container."""
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
    _rotating: dict[str, RotatingSecret] = PrivateAttr(default_factory=dict)

    @field_validator("otlp_endpoint", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return value or None

    @model_validator(mode="after")
    def _nats_settings_fit(self) -> Self:
        if (self.nats_tls_cert_file is None) != (self.nats_tls_key_file is None):
            raise ValueError("set both of NATS_TLS_CERT_FILE and NATS_TLS_KEY_FILE, or neither")
        files = (self.nats_tls_ca_file, self.nats_tls_cert_file)
        if any(files) and not self.nats_url.startswith("tls://"):
            raise ValueError("NATS_TLS_... is set, but NATS_URL does not begin with tls://")
        return self

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return the settings that the environment describes.

        Raises:
            SettingsError: If a value is missing or absurd, or a name under the prefix is unknown.
        """
        values = os.environ if environment is None else environment
        prefix = cls.model_config.get("env_prefix", "")
        known = {f"{prefix}{name}".upper() for name in cls.model_fields}
        known |= {f"{prefix}{name}_{way}".upper() for name in secret_fields(cls) for way in ("file", "from")}
        unknown = sorted(name for name in values if name.upper().startswith(prefix) and name.upper() not in known)
        if unknown:
            raise SettingsError(f"no such setting: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        given = secrets_given(cls, values)
        settings = cls._built({name: secret.value for name, secret in given.items()})
        for name, secret in given.items():
            if secret.reference is not None:
                rotating = RotatingSecret(f"{prefix}{name}".upper(), secret.reference, secret.text)
                settings._rotating[name] = rotating
        check_name(f"{prefix}RUN_ID", settings.run_id)
        check_name(f"{prefix}INSTANCE", settings.instance)
        return settings

    @classmethod
    def _built(cls, secrets: Mapping[str, Any]) -> Self:
        prefix = cls.model_config.get("env_prefix", "")
        try:
            return cls(**secrets)
        except ValidationError as error:
            faults = (
                f"{prefix}{str(fault['loc'][0]).upper() if fault['loc'] else '*'}: {fault['msg']}"
                for fault in error.errors(include_input=False)
            )
            raise SettingsError(blank("; ".join(faults))) from None  # the cause may quote a secret
        except UnreadableValueError as error:
            raise SettingsError(f"{blank(str(error))}: it must be JSON") from None

    @field_validator("instance")
    @classmethod
    def _named_after_the_machine(cls, value: str) -> str:
        return socket.gethostname().partition(".")[0] if value == HOSTNAME else value

    def model_post_init(self, _context: Any) -> None:
        """Blank the secrets in whatever the process writes from now on."""
        keep_secret(self.nats_url if "@" in self.nats_url else None)
        for name in secret_fields(type(self)):
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                keep_secret(value.get_secret_value())

    @property
    def rotating_secrets(self) -> tuple[RotatingSecret, ...]:
        """The secrets that were given by `_FILE` or `_FROM`, and so may change while the process runs."""
        return tuple(self._rotating.values())

    def rotating_secret(self, name: str) -> RotatingSecret | None:
        """Return what follows the secret of this field; None: it was given as a value, which does not change."""
        return self._rotating.get(name)

    def following(self, name: str, place: SecretReference) -> Self:
        """Return these settings with a secret that stands in a place, and is read there again when it changes.

        Raises:
            SettingsError: If there is none, it may not be read or is malformed.
            DependencyError: If the place does not answer.
        """
        text = place.read()
        keep_secret(text)
        settings = self.model_copy(update={name: SecretStr(text)})
        settings._rotating = self._rotating | {name: RotatingSecret(name.upper(), place, text)}
        return settings

    def current_nats_password(self) -> str:
        """Return the password for the next login to NATS."""
        rotating = self._rotating.get("nats_password")
        if rotating is not None:
            return rotating.current
        return self.nats_password.get_secret_value() if self.nats_password else ""

    def traced_as(self, name: str) -> str:
        """Return the name under which spans of the service `name` are shown."""
        return name

    def configuration(self) -> BreakwaterConfig:
        """Return the strategy configuration.

        Raises:
            InvalidInputError: If the file is absent or wrong.
        """
        return BreakwaterConfig() if self.config_file is None else read_config(self.config_file)
