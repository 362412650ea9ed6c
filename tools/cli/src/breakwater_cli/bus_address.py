"""Where the bus listens and as whom a command connects: options, and `BREAKWATER_NATS_...` of the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr, ValidationError

from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.secret_sources import file_reference
from breakwater_runtime.settings import ServiceSettings

PREFIX = "BREAKWATER_NATS_"


@dataclass(frozen=True, slots=True)
class BusAddress:
    """Where the bus listens, and as whom to connect.

    Attributes:
        url: `nats://` or `tls://`, host and port.
        user: NATS user; `operator` has what the commands need.
        password: Its password.
        password_file: File with the password, instead.
        tls_ca_file: Authority of the server's certificate.
        tls_cert_file: Certificate of the client.
        tls_key_file: Its key.
    """

    url: str
    user: str | None = None
    password: str | None = None
    password_file: Path | None = None
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None

    @classmethod
    def of(
        cls, url: str, user: str | None, password: str | None = None, environment: Mapping[str, str] | None = None
    ) -> "BusAddress":
        """Return the address that options give, with the rest from the environment."""
        values = os.environ if environment is None else environment

        def path(name: str) -> Path | None:
            return Path(values[PREFIX + name]) if values.get(PREFIX + name) else None

        return cls(
            url=url,
            user=user,
            password=password or values.get(PREFIX + "PASSWORD") or None,
            password_file=path("PASSWORD_FILE"),
            tls_ca_file=path("TLS_CA_FILE"),
            tls_cert_file=path("TLS_CERT_FILE"),
            tls_key_file=path("TLS_KEY_FILE"),
        )

    def settings(self, run_id: str = LIVE_RUN_ID, *, instance: str = "command") -> ServiceSettings:
        """Return the settings of a connection.

        Raises:
            SettingsError: If they contradict each other, or the password's file cannot be read.
        """
        password = self._read_password()
        try:
            return ServiceSettings(
                nats_url=self.url,
                nats_user=self.user,
                nats_password=None if password is None else SecretStr(password),
                nats_tls_ca_file=self.tls_ca_file,
                nats_tls_cert_file=self.tls_cert_file,
                nats_tls_key_file=self.tls_key_file,
                run_id=run_id,
                instance=instance,
            )
        except ValidationError as error:
            faults = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
            raise SettingsError(f"{faults} (BREAKWATER_NATS_... of the environment)") from error

    def _read_password(self) -> str | None:
        if self.password_file is None:
            return self.password
        name = f"{PREFIX}PASSWORD_FILE"
        if self.password is not None:
            raise SettingsError(f"set one of {PREFIX}PASSWORD and {name}, not both")
        return file_reference(name, str(self.password_file)).read()
