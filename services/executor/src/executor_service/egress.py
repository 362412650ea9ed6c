"""The address from which this machine's requests leave, as an echo service sees it; addresses and networks."""

import asyncio
import ipaddress
import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from breakwater_bybit.transport import ask_as_the_exchange
from breakwater_core.errors import InvalidInputError, TransientError
from breakwater_runtime.daemon_thread import in_daemon_thread

DEFAULT_ECHO_URL = "https://checkip.amazonaws.com"
"""Asked where addresses are expected and no echo service is named; answers with plain text."""
_TIMEOUT_S = 5.0
_LONGEST_S = 15.0
"""An answer that trickles in, or a name server that hangs, is not waited for any longer."""
_LONGEST_ANSWER = 4096

type _Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class EchoError(TransientError):
    """The echo service gave no address."""


def check_networks(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses or networks if each is one.

    Raises:
        InvalidInputError: If one is not.
    """
    for value in values:
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError as error:
            raise InvalidInputError(f"not an address or network: {value!r}") from error
    return values


def networks_of(text: str) -> tuple[str, ...]:
    """Return the entries of a list that is separated by commas, or written as a JSON list; blanks do not count.

    Raises:
        ValueError: If a JSON list is broken, or holds something else than texts.
    """
    if not text.strip().startswith("["):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    values = json.loads(text)
    if not all(isinstance(value, str) for value in values):
        raise ValueError("must be a list of texts")
    return tuple(value.strip() for value in values)


def is_within(address: str, networks: Sequence[str]) -> bool:
    """Return whether the address is one of these, or in one of these networks; what is no address matches nothing."""
    seen = _plain(ipaddress.ip_address(address))
    for network in networks:
        try:
            if seen in ipaddress.ip_network(network, strict=False):
                return True
        except ValueError:
            continue
    return False


def is_inside(entry: str, networks: Sequence[str]) -> bool:
    """Return whether all of an address or network lies within one of these networks."""
    try:
        inner = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return any(_holds(ipaddress.ip_network(network, strict=False), inner) for network in networks)


def covers(bound: Sequence[str], expected: str) -> bool:
    """Return whether a key's list holds an expected address; a whole network cannot be on it, so any of it will do."""
    wanted = ipaddress.ip_network(expected, strict=False)
    for entry in bound:
        try:
            if _overlap(wanted, ipaddress.ip_network(entry, strict=False)):
                return True
        except ValueError:
            continue
    return False


def bound_addresses(ips: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses that a key is bound to; empty: any may use it."""
    return () if "*" in ips else tuple(ips)


async def address_seen_by(url: str, *, exchange_url: str) -> str:
    """Return the address that the echo service at the URL answers with, as plain text or as `{"ip": ...}`.

    It is asked by the way that requests to the exchange take: through the same proxy, if there is one.

    Raises:
        EchoError: If it does not answer with an address.
    """

    def ask() -> bytes:
        return ask_as_the_exchange(url, exchange_url=exchange_url, timeout_s=_TIMEOUT_S, longest=_LONGEST_ANSWER)

    try:
        async with asyncio.timeout(_LONGEST_S):
            return _address_in((await in_daemon_thread(ask, name="egress-echo")).decode())
    except (OSError, ValueError) as error:
        host = urlsplit(url).hostname
        raise EchoError(f"no address from the echo service at {host} ({type(error).__name__})") from error


def _address_in(text: str) -> str:
    answer = text.strip()
    if answer.startswith("{"):
        answer = str(json.loads(answer).get("ip"))
    return str(_plain(ipaddress.ip_address(answer)))


def _plain(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address stands for, else the address itself."""
    return getattr(address, "ipv4_mapped", None) or address


def _overlap(
    first: ipaddress.IPv4Network | ipaddress.IPv6Network, second: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return first.version == second.version and first.overlaps(second)


def _holds(
    outer: ipaddress.IPv4Network | ipaddress.IPv6Network, inner: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return (
        outer.version == inner.version
        and outer.network_address <= inner.network_address  # type: ignore[operator]  # of one version
        and outer.broadcast_address >= inner.broadcast_address  # type: ignore[operator]  # as above
    )
