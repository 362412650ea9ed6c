"""Ports that our processes listen on."""

import socket
from pathlib import Path

import pytest

from breakwater_cli.nats_process import free_port

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.mark.skipif(not RANGE.exists(), reason="this system does not tell which ports outgoing connections get")
def test_a_port_is_none_that_an_outgoing_connection_may_get() -> None:
    first = int(RANGE.read_text(encoding="ascii").split()[0])
    assert all(port < first for port in (free_port() for _ in range(100)))


def test_a_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass
