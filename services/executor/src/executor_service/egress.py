"""The address from which this machine's requests leave, as an echo service sees it."""

import asyncio
import http.client
import ipaddress
from urllib.parse import urlsplit

from breakwater_core.errors import InvalidInputError, TransientError

_TIMEOUT_S = 5.0
_LONGEST_ANSWER = 200


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


def is_within(address: str, networks: tuple[str, ...]) -> bool:
    """Return whether the address is one of these, or in one of these networks; what is no address matches nothing."""
    seen = ipaddress.ip_address(address)
    for network in networks:
        try:
            if seen in ipaddress.ip_network(network, strict=False):
                return True
        except ValueError:
            continue
    return False


async def address_seen_by(url: str) -> str:
    """Return the address that the echo service at the URL answers with as plain text.

    Raises:
        EchoError: If it does not answer with an address.
    """
    try:
        text = await asyncio.to_thread(_get, url)
        return str(ipaddress.ip_address(text.strip()))
    except (OSError, http.client.HTTPException, ValueError) as error:
        host = urlsplit(url).hostname
        raise EchoError(f"no address from the echo service at {host} ({type(error).__name__})") from error


def _get(url: str) -> str:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "text/plain"})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"status {answer.status}")
        return answer.read(_LONGEST_ANSWER).decode("ascii")
    finally:
        connection.close()
