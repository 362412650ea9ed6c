"""The NATS client as the bus needs it: a denied request fails at once, and a refused password is asked for anew.

nats-py tells of a denied publish only in its error callback, while the request waits for its time limit; and it closes
for good when the server ends a connection because the password has changed. It would also show the certificate that was
read at the start for ever: after its renewal the first restart of the server would shut everybody out.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from breakwater_runtime.errors import DependencyError, SettingsError
from breakwater_runtime.health import Health
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import BUS_CONNECTED, BUS_RECONNECTS, DENIED
from breakwater_runtime.permissions import inbox_prefix
from breakwater_runtime.secret_rotation import RotatingSecret
from breakwater_runtime.settings import ServiceSettings

CONNECT_TIMEOUT_S = 10.0
DENIED_CONDITION = "permissions"
ADVICE = "give it the NATS user of its service, or see docs/bus-security.md"
_PUBLISH = "permissions violation for publish to"
_SUBSCRIBE = "permissions violation for subscription to"
_LOST_RIGHT = ("authorization violation", "user authentication")


class PermissionDeniedError(nats.errors.Error):
    """The server does not let this user publish to the subject."""

    def __init__(self, user: str, subject: str) -> None:
        """Name the user and the subject."""
        self.description = f"the NATS user {user!r} may not publish to {subject}; {ADVICE}"
        super().__init__(self.description)


class BusClient(Client):
    """A connection to NATS that knows what it was denied."""

    def __init__(self, *, user: str | None, make_tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        """Connect as `user`; with `make_tls`, which reads the certificates, only over an encrypted connection."""
        super().__init__()
        self._name_of_user = user or "(none)"
        self._make_tls = make_tls
        self._waiting: dict[str, dict[asyncio.Timeout, str]] = {}
        self.denied: set[str] = set()
        """Subjects that the server has denied on this connection; in lower case, as nats-py hands them on."""
        self.on_denied: Callable[[str], None] = lambda _subject: None
        """Called with the text for a person, once for each subject."""

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # nats-py's signature
        old_style: bool = False,  # as above
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Ask and return the answer; as nats-py's, and fails at once if the server denies the subject.

        Raises:
            PermissionDeniedError: If this user may not publish to the subject.
        """
        with self.heed_denial(subject) as deadline:
            async with deadline:
                return await super().request(subject, payload, timeout, old_style, headers)

    @contextmanager
    def heed_denial(self, *subjects: str) -> Iterator[asyncio.Timeout]:
        """Yield a deadline that passes as soon as one of the subjects is denied, which then is raised as an error."""
        deadline = asyncio.timeout(None)
        for subject in subjects:
            self._waiting.setdefault(subject.lower(), {})[deadline] = subject
        try:
            yield deadline
        except TimeoutError:
            for subject in subjects if deadline.expired() else ():
                if subject.lower() in self.denied:
                    raise PermissionDeniedError(self._name_of_user, subject) from None
            raise
        finally:
            for subject in subjects:
                waiting = self._waiting.get(subject.lower(), {})
                waiting.pop(deadline, None)
                if not waiting:
                    self._waiting.pop(subject.lower(), None)

    def forget_denials(self) -> None:
        """Begin anew, as the server may have other permissions by now."""
        self.denied.clear()

    async def _process_err(self, err_msg: str) -> None:
        """Take note of what was denied; with a password that is no longer right connect anew instead of closing."""
        text = err_msg.strip().strip("'")
        if text.startswith(_PUBLISH):
            self._note("publish", _subject_in(text))
        elif text.startswith(_SUBSCRIBE):
            self._note("subscribe", _subject_in(text))
        elif text.startswith(_LOST_RIGHT) and self.is_connected:
            await self._process_op_err(nats.errors.AuthorizationError())
        else:
            await super()._process_err(err_msg)

    def _note(self, operation: str, key: str) -> None:
        DENIED.labels(operation).inc()
        waiting = self._waiting.get(key, {}) if operation == "publish" else {}
        if key not in self.denied:
            self.denied.add(key)
            subject = next(iter(waiting.values()), key)
            text = f"the NATS user {self._name_of_user!r} may not {operation} to {subject}; {ADVICE}"
            get_logger().error("bus_permission_denied", operation=operation, subject=subject, reason=text)
            self.on_denied(text)
        for deadline in tuple(waiting):
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """How TLS is spoken on the next connection: certificates that were renewed meanwhile are read anew."""
        if self._make_tls is not None:
            try:
                self.options["tls"] = self._make_tls()
            except SettingsError as error:  # e.g. they are just being renewed: those read before
                get_logger().warning("bus_certificates_not_read", reason=str(error))
        return super().ssl_context

    def _connect_command(self) -> bytes:
        is_encrypted = self._server_info.get("tls_required")
        if self._make_tls is not None and not is_encrypted:  # else the password would go in the clear
            raise nats.errors.SecureConnRequiredError
        return super()._connect_command()


def _subject_in(text: str) -> str:
    return text.partition('"')[2].partition('"')[0]


def is_refusal(error: Exception) -> bool:
    """Whether trying again does not help: the server refuses the user, or one side does not trust the other."""
    text = str(error).lower()
    return isinstance(error, ssl.SSLError | nats.errors.SecureConnRequiredError) or any(
        words in text for words in _LOST_RIGHT
    )


def refusal_text(error: Exception, user: str | None) -> str:
    """Return what a person is told of a refusal, with what to do."""
    if isinstance(error, nats.errors.SecureConnRequiredError):
        return "the server offers no TLS; turn it on there, or use nats:// without TLS files"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); check NATS_TLS_CA_FILE and the host's name"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "handshake failed"
        return f"TLS failed ({reason}); does the server ask for a client certificate (NATS_TLS_CERT_FILE, _KEY_FILE)?"
    name = "a connection without a user" if user is None else f"the user {user!r} or its password"
    return f"it refuses {name}; correct NATS_USER, NATS_PASSWORD or NATS_PASSWORD_FILE"


def tls_context(settings: ServiceSettings) -> ssl.SSLContext | None:
    """Return how TLS is spoken, host names checked; None: not at all.

    Raises:
        SettingsError: If a file is absent or is not what it should be.
    """
    if not settings.nats_url.startswith("tls://"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.nats_tls_ca_file)
        if settings.nats_tls_cert_file is not None:
            context.load_cert_chain(settings.nats_tls_cert_file, settings.nats_tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the files of NATS_TLS_... cannot be used ({error})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Connection:
    """What happens to a connection, told to the log, the metrics and the service's health."""

    def __init__(
        self,
        client: BusClient,
        health: Health | None,
        on_return: Callable[[], None],
        password: RotatingSecret | None,
    ) -> None:
        self.refusal: Exception | None = None
        """Why the first connection cannot be had."""
        self.closing = False
        self.begun: asyncio.Timeout | None = None
        """Time limit of the first connection, while that is tried."""
        self._client = client
        self._health = health or Health()
        self._on_return = on_return
        self._password = password
        self._errors = 0
        client.on_denied = lambda text: self._health.fail(DENIED_CONDITION, text)

    async def on_disconnected(self) -> None:
        BUS_CONNECTED.set(0)
        if not self.closing:
            self._health.fail("bus", "disconnected from NATS")
            get_logger().warning("bus_disconnected")

    async def on_reconnected(self) -> None:
        BUS_CONNECTED.set(1)
        BUS_RECONNECTS.inc()
        self._client.forget_denials()
        self._on_return()
        self._health.hold("bus")
        self._health.hold(DENIED_CONDITION)
        get_logger().info("bus_reconnected")

    async def on_error(self, error: Exception) -> None:
        self._errors += 1
        if self._password is not None and any(words in str(error).lower() for words in _LOST_RIGHT):
            self._password.hurry()
        if self._errors % 20 == 1:  # one of a series tells enough: a client that reconnects meets the same one again
            get_logger().warning("bus_error", reason=f"{type(error).__name__}: {error}")
        if self.begun is not None and self.refusal is None and is_refusal(error):
            self.refusal = error
            self.begun.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def open_client(
    settings: ServiceSettings, *, name: str, health: Health | None = None, on_return: Callable[[], None] = lambda: None
) -> AsyncIterator[BusClient]:
    """Connect to NATS and stay connected while the context is open.

    The password is asked of the settings at each connection, so one that was changed is taken up without a restart, as
    soon as `secrets_followed` has read it.

    Args:
        settings: Where and as whom.
        name: Name of the process, as the server shows it.
        health: Told of the conditions `bus` and `permissions`.
        on_return: Called after each later connection.

    Raises:
        DependencyError: If NATS is not reachable, or refuses the user.
        SettingsError: If a file of the settings cannot be used.
    """
    tls, user = tls_context(settings), settings.nats_user
    client = BusClient(user=user, make_tls=None if tls is None else lambda: tls_context(settings) or tls)
    connection = _Connection(client, health, on_return, settings.rotating_secret("nats_password"))
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S) as connection.begun:
            await client.connect(
                settings.nats_url,
                name=f"breakwater-{name}-{settings.instance}",
                user=user,
                password=settings.current_nats_password if user else None,
                tls=tls,
                inbox_prefix=inbox_prefix(user),
                connect_timeout=2,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds, as `asyncio.sleep` takes them
                ping_interval=10,
                max_outstanding_pings=2,
                pending_size=64 << 20,
                disconnected_cb=connection.on_disconnected,
                reconnected_cb=connection.on_reconnected,
                error_cb=connection.on_error,
            )
    except (nats.errors.Error, TimeoutError, OSError) as error:
        where = redacted(settings.nats_url)
        if connection.refusal is not None:
            text = refusal_text(connection.refusal, user)
            raise DependencyError(f"NATS at {where}: {text}") from connection.refusal
        raise DependencyError(
            f"NATS is not reachable at {where} ({type(error).__name__}); start it or correct NATS_URL"
        ) from error
    connection.begun = None
    BUS_CONNECTED.set(1)
    try:
        yield client
    finally:
        with suppress(nats.errors.Error, TimeoutError):
            await asyncio.wait_for(client.flush(), 2)
        connection.closing = True
        await client.close()


def redacted(url: str) -> str:
    """Return the URL without user and password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
