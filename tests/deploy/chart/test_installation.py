"""The rendered manifests come up and do their work: every process of them, started at once and in no order.

There is no cluster here, so the containers run as processes (`machine.py`). Everything must become ready without any
order, and what the setup Job makes must be all that the services, with their own users, need. A replay must give the
report of the backtest, with its recording from a volume and from S3, over a bus with TLS and without.
"""

import importlib.util
import ipaddress
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from breakwater_core.session import Session
from breakwater_recordings.synthetic import write_synthetic
from tests.deploy.chart.chart import merge, render
from tests.deploy.chart.machine import Container, Machine, Texts, tail
from tests.e2e.command import backtest_report, comparable

VALUES: dict[str, Any] = {
    "config": {"portfolio": {"symbols": ["BTCUSDT", "ETHUSDT"]}},
    "operator": {"enabled": False},
}
STRATEGY = {"k_long": 0.2, "k_short": 0.2, "ma_window": 2, "stop_loss": 0.01}
DAYS = 6
REPLAY: dict[str, Any] = {"mode": "replay", "config": {"strategy": STRATEGY}}
TLS = {"nats": {"tls": {"enabled": True, "serverSecret": "nats-server", "clientSecret": "nats-client"}}}
LIMIT_S = 120

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        importlib.util.find_spec("breakwater_runtime.bus_setup") is None, reason="the bus has no set-up of its own yet"
    ),
]

type Started = Callable[[Machine], list[Container]]


@pytest.fixture
def started() -> Iterator[Started]:
    """Start all containers of a machine, the bus last, and wait until all are ready."""
    with ExitStack() as stack:

        def start(machine: Machine) -> list[Container]:
            made = machine.containers()
            for container in made:
                stack.callback(container.stop)
            come_up(made)
            return made

        yield start


def come_up(containers: list[Container]) -> None:
    (bus,) = [container for container in containers if container.name == "nats"]
    others = [container for container in containers if container is not bus]
    for container in others:
        container.tend()
    deadline = time.monotonic() + LIMIT_S
    waiting: list[Container] = list(others)
    while waiting and time.monotonic() < deadline:
        if bus.process is None and any(one.log.exists() and one.log.stat().st_size for one in others):
            bus.tend()  # only when the others have missed it
        for container in waiting:
            container.tend()
        waiting = [container for container in waiting if not container.ready]
        time.sleep(0.2)
    assert waiting == [], "\n".join(map(tail, [bus, *waiting]))


def asked(containers: list[Container], path: str) -> Any:
    """Return what the reporter's API answers."""
    (reporter,) = [container for container in containers if container.name == "reporter"]
    with urllib.request.urlopen(f"http://127.0.0.1:{reporter.port}{path}", timeout=10) as answer:
        return json.load(answer)


def refused(container: Container) -> bool:
    return "bus_permission_denied" in container.log.read_text(errors="replace")


def test_a_paper_installation_comes_up_in_no_order(tmp_path: Path, started: Started) -> None:
    containers = started(Machine(render(VALUES), tmp_path))
    assert any(path.startswith("/runs") for path in asked(containers, "/openapi.json")["paths"])
    assert not [container.name for container in containers if refused(container)], "a user lacks a permission"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    write_synthetic(
        folder, seed=11, first_day=date(2024, 3, 1), days=DAYS, trades_per_day_total=2_000, session=Session(),
        symbols=["BTCUSDT", "ETHUSDT"],
    )  # fmt: skip
    return folder


def test_a_replay_of_a_volume_gives_the_report_of_the_backtest(
    tmp_path: Path, recording: Path, started: Started
) -> None:
    values = {"recording": {"source": "pvc", "pvc": {"claimName": "recordings"}}}
    play(values, tmp_path, recording, started, claims={"recordings": recording})


def test_a_replay_of_s3_over_tls_gives_the_report_of_the_backtest(
    tmp_path: Path, recording: Path, started: Started
) -> None:
    boto3 = pytest.importorskip("boto3")
    store = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    store.start()
    try:
        host, port = store.get_host_and_port()
        values = {
            "recording": {"source": "s3", "s3": {"url": "s3://bucket/recordings"}},
            "aws": {
                "region": "us-east-1",
                "identity": "keys",
                "existingSecret": "store",
                "endpointUrl": f"http://{host}:{port}",
            },
            **TLS,
        }
        client = boto3.client(
            "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
            aws_access_key_id="key", aws_secret_access_key="secret",
        )  # fmt: skip
        client.create_bucket(Bucket="bucket")
        for path in recording.rglob("*.parquet"):
            client.upload_file(str(path), "bucket", f"recordings/{path.relative_to(recording)}")
        secrets = certificates() | {"store": {"access-key-id": "key", "secret-access-key": "secret"}}
        containers = play(values, tmp_path, recording, started, secrets=secrets)
    finally:
        store.stop()
    urls = {value for one in containers for name, value in one.environment.items() if name.endswith("_NATS_URL")}
    assert {url.partition(":")[0] for url in urls} == {"tls"}


def play(values: dict[str, Any], folder: Path, recording: Path, started: Started, **places: Any) -> list[Container]:
    """Replay under the id of the backtest of the same configuration, and compare the reports."""
    values = merge(merge(deepcopy(VALUES), REPLAY), values)
    (folder / "config.yaml").write_text(json.dumps(values["config"]))
    expected = backtest_report(folder / "backtest", recording, "--config", folder / "config.yaml")
    run = expected["run_id"]
    machine = Machine(render(values | {"replay": {"runId": run}}), folder / "machine", **places)
    containers = started(machine)
    deadline = time.monotonic() + LIMIT_S
    while asked(containers, f"/runs/{run}")["ended_at"] is None:
        assert time.monotonic() < deadline, "\n".join(map(tail, containers))
        time.sleep(0.2)
    report = asked(containers, f"/runs/{run}/report")
    assert report["counters"]["fills"] > 0
    assert json.loads(comparable(report)) == json.loads(comparable(expected))
    assert not [container.name for container in containers if refused(container)], "a user lacks a permission"
    return containers


def certificates() -> dict[str, Texts]:
    """Return the Secrets of server and clients, as cert-manager makes them, of one authority."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])

    def signed(subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> str:
        now = datetime.now(UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))  # stands for <fullname>-nats.<namespace>.svc
        certificate = (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    authority = signed(issuer, authority_key, is_authority=True)
    made: dict[str, Texts] = {}
    for name in ("nats-server", "nats-client"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        certificate = signed(subject, key, is_authority=False)
        made[name] = {"ca.crt": authority, "tls.crt": certificate, "tls.key": text.decode()}
    return made
