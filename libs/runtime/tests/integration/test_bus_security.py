"""Connecting as a user of the bus: what is denied, refused, waited for, encrypted, and how a password is changed."""

import asyncio
import ipaddress
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from breakwater_cli.nats_process import AUDITOR, NatsProcess, free_port
from breakwater_core.events import Alert, Severity
from breakwater_runtime import bus_setup, subjects
from breakwater_runtime.bus import Bus, BusError, connect
from breakwater_runtime.bus_client import BusClient, tls_context
from breakwater_runtime.bus_setup import BusSetupSettings
from breakwater_runtime.bus_streams import bodies
from breakwater_runtime.codec import Encoded
from breakwater_runtime.consumers import ConsumerSpecification, PullConsumer, Received
from breakwater_runtime.dead_letters import list_letters, replay_letter
from breakwater_runtime.errors import DependencyError, SettingsError, StoppedError, exit_code_of
from breakwater_runtime.health import Health
from breakwater_runtime.metrics import DENIED
from breakwater_runtime.settings import ServiceSettings

INTENT = Encoded("intent.0.main.BTCUSDT", "", b"x")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsProcess]:
    """A server with the users of this system; it has no streams yet."""
    process = NatsProcess(tmp_path / "nats", with_users=True, auditor=True)
    process.start()
    yield process
    process.stop()


@asynccontextmanager
async def connected(server: NatsProcess, user: str, health: Health | None = None) -> AsyncIterator[Bus]:
    async with asyncio.timeout(60), connect(server.settings(user, "live"), name="test", health=health) as bus:
        yield bus


async def until(happened: Callable[[], bool] | Callable[[], Awaitable[bool]], timeout_s: float = 90) -> None:
    async with asyncio.timeout(timeout_s):
        while not (found if isinstance(found := happened(), bool) else await found):
            await asyncio.sleep(0.02)


def denied_so_far() -> float:
    return sum(sample.value for sample in next(iter(DENIED.collect())).samples if sample.name.endswith("_total"))


def set_up_settings(server: NatsProcess, user: str, *, wait_s: float) -> BusSetupSettings:
    assert server.passwords is not None
    password = SecretStr((server.passwords / user).read_text())
    return BusSetupSettings(nats_url=server.url, nats_user=user, nats_password=password, wait_s=wait_s)


def news(name: str, service: str) -> Alert:
    return Alert(name, "live", Severity.INFO, service, "news", "something happened", 1)


async def test_a_denied_publish_fails_at_once_and_says_who_may_not_what(server: NatsProcess) -> None:
    await server.make_streams()
    health, before = Health(), denied_so_far()
    async with connected(server, "notifier", health) as bus:
        words = r"the NATS user 'notifier' may not publish to "
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                with pytest.raises(BusError, match=words + r"intent\.0\.main\.BTCUSDT"):
                    await bus.publish_encoded(INTENT)
            with pytest.raises(BusError, match=words + r"alert\.info\.signal"):
                await bus.publish_all([news("1", "notifier"), news("2", "signal")])
            with pytest.raises(BusError, match=words + r"\$KV\.control\.state"):
                await bus.write(subjects.CONTROL_BUCKET, subjects.CONTROL_KEY, b"x")
            with pytest.raises(BusError, match=words + r"\$JS\.API\.STREAM\.DELETE\.MD"):
                await bus.api("STREAM.DELETE.MD")
        told = [entry["subject"] for entry in logs if entry["event"] == "bus_permission_denied"]
        assert told == ["intent.0.main.BTCUSDT", "alert.info.signal", "$KV.control.state", "$JS.API.STREAM.DELETE.MD"]
        assert denied_so_far() - before == 5
        assert words in health.faults["permissions"]
        assert bus.watch.full == frozenset()  # it is no matter of room
        assert await bus.publish(news("3", "notifier")) > 0


async def test_the_operator_plays_dead_letters_again_but_no_intents(server: NatsProcess) -> None:
    await server.make_streams()
    async with connected(server, AUDITOR) as bus:
        for stream, consumer in (("INTENT", "executor-main=BTCUSDT"), ("ALERT", "reporter-live-alerts")):
            subject = {"INTENT": INTENT.subject, "ALERT": "alert.info.executor"}[stream]
            await bus.create_consumer(stream, consumer, [subject], {"durable_name": consumer})
            await bus.dead_letter(
                stream=stream, consumer=consumer, subject=subject, payload=b"x", sequence=1, reason="a test"
            )
    async with connected(server, "operator") as bus:
        intent, alert = await list_letters(bus)
        with pytest.raises(BusError, match=r"'operator' may not publish to intent\.0\.main\.BTCUSDT.*it is kept"):
            await replay_letter(bus, intent)
        await replay_letter(bus, alert)
        assert [letter.stream for letter in await list_letters(bus)] == ["INTENT"]


def service_environment(server: NatsProcess, port: int, **changes: str) -> dict[str, str]:
    assert server.passwords is not None
    values = {
        "NOTIFIER_NATS_URL": server.url,
        "NOTIFIER_NATS_USER": "notifier",
        "NOTIFIER_NATS_PASSWORD_FILE": str(server.passwords / "notifier"),
        "NOTIFIER_HTTP_PORT": str(port),
    }
    return os.environ | values | changes


def notifier(environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "notifier_service"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_a_service_with_a_wrong_password_ends_with_code_3_and_says_so(server: NatsProcess, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    process = notifier(service_environment(server, 0, NOTIFIER_NATS_PASSWORD_FILE=str(wrong)))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    last = json.loads(errors.splitlines()[-1])
    assert "it refuses the user 'notifier' or its password" in last["reason"]


async def test_a_service_waits_for_the_streams_goes_on_by_itself_and_drains(server: NatsProcess) -> None:
    port = free_port()
    process = notifier(service_environment(server, port))
    try:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def faults() -> dict[str, str] | None:
                try:
                    answer = await client.get(f"http://127.0.0.1:{port}/ready")
                except httpx.HTTPError:
                    return None
                found: dict[str, str] = answer.json()["faults"]
                return found

            async def waits() -> bool:
                return "streams are missing: MD, INTENT" in ((await faults()) or {}).get("streams", "")

            async def is_ready() -> bool:
                return (await faults()) == {}

            await until(waits)
            await server.make_streams()
            await until(is_ready)
            metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        denied = [line for line in metrics.splitlines() if line.startswith("breakwater_bus_denied_total{")]
        assert denied
        assert all(line.endswith(" 0.0") for line in denied)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()


async def test_a_service_that_waits_for_streams_can_be_stopped(server: NatsProcess) -> None:
    stop, health = asyncio.Event(), Health()

    async def start() -> None:
        async with connect(server.settings("signal", "live"), name="test", health=health, stop=stop):
            raise AssertionError("there are no streams")

    task = asyncio.create_task(start())
    await until(lambda: "streams" in health.faults)
    stop.set()
    with pytest.raises(StoppedError):
        await asyncio.wait_for(task, 10)


async def test_a_command_does_not_wait_for_streams(server: NatsProcess) -> None:
    with pytest.raises(DependencyError, match=r"streams are missing: MD.*bus_setup"):
        async with connected(server, "operator"):
            pass


async def test_a_changed_password_is_taken_up_without_a_restart(server: NatsProcess) -> None:
    await server.make_streams()
    assert server.passwords is not None
    health = Health()
    async with connected(server, "notifier", health) as bus:
        await bus.publish(news("1", "notifier"))
        (server.passwords / "notifier").write_text("another-one")
        server.reload()  # the server ends connections whose password is no longer right
        await until(lambda: bus.connections == 1)
        await until(lambda: health.ready)
        await bus.publish(news("2", "notifier"))


async def test_a_password_file_that_is_away_for_a_moment_ends_nothing(server: NatsProcess) -> None:
    await server.make_streams()
    assert server.passwords is not None
    path = server.passwords / "notifier"
    health = Health()
    async with connected(server, "notifier", health) as bus:
        server.kill()
        word = path.read_text()
        path.rename(path.with_suffix(".away"))
        await until(lambda: "bus" in health.faults)
        path.with_suffix(".away").rename(path)
        server.start()
        await until(lambda: health.ready)
        assert path.read_text() == word
        await bus.publish_persistently(news("1", "notifier"))


async def test_the_set_up_runs_twice_and_tells_what_is_not_as_it_must_be(server: NatsProcess) -> None:
    settings = set_up_settings(server, "setup", wait_s=10)
    assert await bus_setup.set_up(settings) == []
    assert await bus_setup.set_up(settings) == []
    async with connected(server, AUDITOR) as bus:
        body = bodies()["INTENT"]
        await bus.api("STREAM.UPDATE.INTENT", body | {"subjects": ["intent.0.>"], "allow_direct": True})
        await bus.api("STREAM.UPDATE.FILL", bodies()["FILL"] | {"max_age": 10**15})
    with structlog.testing.capture_logs() as logs:
        faults = await bus_setup.set_up(settings)
    assert faults == [
        "INTENT: does not store intent.>",
        "INTENT: allow_direct is True, must be None",
    ]
    told = [entry["difference"] for entry in logs if entry["event"] == "stream_differs"]
    assert told == ["FILL: max_age is 1000000000000000, here it would be 7776000000000000"]


def test_the_set_up_as_a_command_makes_everything_and_ends(server: NatsProcess) -> None:
    assert server.passwords is not None
    environment = {
        "BUS_SETUP_NATS_URL": server.url,
        "BUS_SETUP_NATS_USER": "setup",
        "BUS_SETUP_NATS_PASSWORD_FILE": str(server.passwords / "setup"),
    }
    command = [sys.executable, "-m", "breakwater_runtime.bus_setup"]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, len(json.loads(done.stdout)["streams"])) == (0, 15), done.stderr


async def test_the_set_up_ends_with_a_documented_code_when_it_cannot_do_its_work(server: NatsProcess) -> None:
    assert server.passwords is not None
    with pytest.raises(SettingsError) as misspelt:
        BusSetupSettings.load({"BUS_SETUP_NATS_PASWORD": "x"})
    assert exit_code_of(misspelt.value) == 2
    as_signal = set_up_settings(server, "signal", wait_s=0)
    with pytest.raises(DependencyError, match="the NATS user 'signal' may not publish to") as denied:
        await bus_setup.set_up(as_signal)
    assert exit_code_of(denied.value) == 3
    with pytest.raises(DependencyError, match=r"NATS is not reachable at nats://127\.0\.0\.1:1"):
        await bus_setup.set_up(BusSetupSettings(nats_url="nats://127.0.0.1:1", wait_s=0))


async def test_a_consumer_made_before_filters_stood_in_the_subject_keeps_its_place(bus: Bus) -> None:
    seen: list[str] = []
    stop = asyncio.Event()

    async def handle(received: Received) -> None:
        seen.append(received.event.alert_id)
        if received.event.alert_id == "2":
            stop.set()

    await bus.publish_all([Alert(str(n), "test-run", Severity.INFO, "test", "news", "x", n) for n in (1, 2)])
    config = {"durable_name": "d", "ack_policy": "explicit", "filter_subjects": ["alert.>"], "max_deliver": -1}
    await bus.api("CONSUMER.CREATE.ALERT.d", {"stream_name": "ALERT", "config": config})
    inbox = bus.client.new_inbox()
    delivered = await bus.client.subscribe(inbox)
    await bus.client.publish("$JS.API.CONSUMER.MSG.NEXT.ALERT.d", b"1", reply=inbox)
    first = await delivered.next_msg(10)
    await bus.client.request(first.reply, b"+ACK", timeout=10)
    specification = ConsumerSpecification(stream="ALERT", durable="d", filters=("alert.>",))
    await asyncio.wait_for(PullConsumer(bus, specification, handle, service="test").run(stop), 20)
    assert seen == ["2"]


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(self._subject, self._key, [x509.BasicConstraints(ca=True, path_length=None)])
        self.path = self._write(f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *hosts: x509.GeneralName) -> tuple[Path, Path]:
        """Return the files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [x509.SubjectAlternativeName(hosts)] if hosts else []
        certificate = self._sign(subject, key, [x509.BasicConstraints(ca=False, path_length=None), *names])
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            self._write(f"{self._name}-{name}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{self._name}-{name}.key", text),
        )

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: list[x509.ExtensionType]
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._subject)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(content)
        return path


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


@asynccontextmanager
async def tls_server(
    folder: Path, authority: Authority, *hosts: x509.GeneralName, mutual: bool = False
) -> AsyncIterator[NatsProcess]:
    certificate, key = authority.issue("server", *hosts)
    verify = f'ca_file: "{authority.path}", verify: true' if mutual else ""
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}", {verify} }}\n'
    server = NatsProcess(folder / "nats", additions=tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def tls_settings(server: NatsProcess, authority: Authority, client: tuple[Path, Path] | None = None) -> ServiceSettings:
    return ServiceSettings(
        nats_url=server.url.replace("nats://", "tls://"),
        nats_user="notifier",
        nats_tls_ca_file=authority.path,
        nats_tls_cert_file=client and client[0],
        nats_tls_key_file=client and client[1],
        instance="0",
    )


async def reaches(settings: ServiceSettings) -> bool:
    async with asyncio.timeout(90), connect(settings.model_copy(update={"nats_user": None}), name="test") as bus:
        return await bus.create("notified", "event.a", b"x")


async def test_tls_trusts_the_named_authority_alone_and_checks_the_name(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    async with tls_server(tmp_path, authority, LOOPBACK) as server:
        assert await reaches(tls_settings(server, authority))
        with pytest.raises(DependencyError, match="its certificate is not trusted"):
            await reaches(tls_settings(server, stranger))
    other = tmp_path / "other"
    async with tls_server(other, authority, x509.DNSName("nats.example")) as server:
        with pytest.raises(DependencyError, match=r"its certificate is not trusted.*127\.0\.0\.1"):
            await reaches(tls_settings(server, authority))


async def test_a_server_that_asks_for_client_certificates_refuses_who_has_none(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    async with tls_server(tmp_path, authority, LOOPBACK, mutual=True) as server:
        assert await reaches(tls_settings(server, authority, authority.issue("client")))
        for client in (None, stranger.issue("client")):
            with pytest.raises(DependencyError, match="NATS_TLS_CERT_FILE"):
                await reaches(tls_settings(server, authority, client))


async def test_certificates_that_were_renewed_are_used_for_the_next_connection(tmp_path: Path) -> None:
    """The authority itself is renewed: server and client have new files when the server comes back."""
    ours, renewed = Authority(tmp_path, "ours"), Authority(tmp_path, "renewed")
    certificate, key = ours.issue("server", LOOPBACK)
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{ours.path}", verify: true }}\n'
    server = NatsProcess(tmp_path / "nats", additions=tls)
    server.start()
    client = ours.issue("client")
    try:
        settings = tls_settings(server, ours, client).model_copy(update={"nats_user": None})
        async with asyncio.timeout(60), connect(settings, name="test") as bus:
            assert await bus.create("notified", "event.a", b"x")
            before = bus.connections
            server.stop()
            for old, new in zip(
                (certificate, key, *client, ours.path),
                (*renewed.issue("server", LOOPBACK), *renewed.issue("client"), renewed.path),
                strict=True,
            ):
                new.replace(old)
            server.start()
            while bus.connections == before:
                await asyncio.sleep(0.02)
            assert await bus.create("notified", "event.b", b"x")
    finally:
        server.stop()


async def test_files_of_certificates_that_cannot_be_read_leave_those_read_before_in_use(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    certificate, key = authority.issue("client")
    settings = ServiceSettings(
        nats_url="tls://127.0.0.1:1",
        nats_tls_ca_file=authority.path,
        nats_tls_cert_file=certificate,
        nats_tls_key_file=key,
    )
    client = BusClient(user=None, make_tls=lambda: tls_context(settings))
    before = client.ssl_context
    other_key = authority.issue("other")[1]
    other_key.replace(key)  # the certificate has not followed yet
    assert client.ssl_context is before
    authority.issue("client")
    assert client.ssl_context is not before


async def test_no_password_goes_to_a_server_without_tls_if_tls_was_asked_for(tmp_path: Path) -> None:
    server = NatsProcess(tmp_path / "nats", with_users=True)
    server.start()
    try:
        settings = server.settings("notifier", "live").model_copy(update={"nats_url": f"tls://127.0.0.1:{server.port}"})
        with pytest.raises(DependencyError, match="the server offers no TLS"):
            async with asyncio.timeout(90), connect(settings, name="test"):
                pass
    finally:
        server.stop()


async def test_files_that_are_no_certificates_are_bad_settings(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("none")
    settings = ServiceSettings(nats_url="tls://127.0.0.1:1", nats_tls_ca_file=path)
    with pytest.raises(SettingsError, match="NATS_TLS_"):
        async with connect(settings, name="test"):
            pass
