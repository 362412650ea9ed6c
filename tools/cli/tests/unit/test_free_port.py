"""Ports that our processes listen on."""

import socket
from pathlib import Path

import pytest

from breakwater_cli.nats_process import PORTS_VARIABLE, free_port, port_range
from breakwater_core.errors import InvalidInputError

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.mark.skipif(not RANGE.exists(), reason="this system does not tell which ports outgoing connections get")
def test_a_port_is_none_that_an_outgoing_connection_may_get() -> None:
    first = int(RANGE.read_text(encoding="ascii").split()[0])
    assert all(port < first for port in (free_port() for _ in range(100)))


def test_a_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == len(ports)


def test_ports_may_be_confined_to_a_range_though_all_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    first = port_range()[0]
    monkeypatch.setenv(PORTS_VARIABLE, f"{first}-{first + 9}")
    assert {free_port() for _ in range(100)} <= {*range(first, first + 10), *range(32_768, 65_536)}


@pytest.mark.parametrize("text", ["", "15000", "15000-", "20000-15000", "0-5", "60000-70000", "a-b"])
def test_a_range_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(PORTS_VARIABLE, text)
    with pytest.raises(InvalidInputError, match=PORTS_VARIABLE):
        free_port()
