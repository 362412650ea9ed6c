"""Encrypted connections: the certificate is checked, and a stream over TLS works, closes and leaves no thread."""

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import serve

from breakwater_bybit import stream_socket
from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import NotSent
from breakwater_bybit.streams import Connected, Disconnected, PublicStream
from breakwater_core.events import Side


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
async def secure_url(stream_exchange: Any, context: ssl.SSLContext) -> AsyncIterator[str]:
    async with serve(stream_exchange._converse, "127.0.0.1", 0, ssl=context, close_timeout=0.2) as server:
        yield f"wss://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def test_stream_over_tls_delivers_and_closes(
    stream_exchange: Any, secure_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_socket, "DEFAULT_CA_BUNDLE_PATH", str(certificate))
    frames: asyncio.Queue[Any] = asyncio.Queue()
    states: asyncio.Queue[Any] = asyncio.Queue()
    stream = PublicStream(secure_url, ["BTCUSDT"], frames.put_nowait, states.put_nowait)
    running = asyncio.create_task(stream.run())
    async with asyncio.timeout(8):
        assert await states.get() == Connected(1)
        for number in range(50):
            await stream_exchange.push({"topic": "publicTrade.BTCUSDT", "ts": number, "data": ["x" * 5000]})
        assert [(await frames.get()).payload["ts"] for _ in range(50)] == list(range(50))
        stream_exchange.cut()
        assert isinstance(await states.get(), Disconnected)
        assert await states.get() == Connected(2)
        await stream.close()
        await running
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bybit-stream")]


async def test_stream_refuses_a_certificate_that_nobody_vouches_for(secure_url: str) -> None:
    states: asyncio.Queue[Any] = asyncio.Queue()
    stream = PublicStream(secure_url, ["BTCUSDT"], lambda _: None, states.put_nowait)
    running = asyncio.create_task(stream.run())
    async with asyncio.timeout(5):
        state = await states.get()
        await stream.close()
        await running
    assert isinstance(state, Disconnected)
    assert "CERTIFICATE_VERIFY_FAILED" in state.reason


async def test_order_is_not_sent_to_a_server_with_a_bad_certificate(
    exchange: Any, context: ssl.SSLContext, key: str, secret: str
) -> None:
    server = exchange._server
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = exchange.url.replace("http:", "https:")
    async with BybitClient(url, api_key=key, api_secret=secret, timeout_s=2) as client:
        with pytest.raises(NotSent):
            await client.place_market_order(
                symbol="BTCUSDT", side=Side.BUY, quantity=Decimal(1), order_link_id="a", reduce_only=False
            )
    assert exchange.received == []
