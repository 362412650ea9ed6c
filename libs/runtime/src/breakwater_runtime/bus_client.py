"""nats-py's client, but one that comes back after the server has turned it away.

nats-py closes a connection for good when the server sends an error such as `Authorization Violation`, which a server
does to connected clients whose password it has just replaced. Here it connects anew, with the password of the moment.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.client import Client
from nats.errors import AuthorizationError, Error
from nats.protocol.parser import AUTHORIZATION_VIOLATION, PERMISSIONS_ERR


class BusClient(Client):
    """A NATS client that only its owner ends."""

    async def _process_err(self, err_msg: str) -> None:
        if PERMISSIONS_ERR in err_msg:
            await super()._process_err(err_msg)
            return
        text = err_msg.strip("'")
        await self._process_op_err(AuthorizationError() if AUTHORIZATION_VIOLATION in text else Error(f"nats: {text}"))


async def connect_client(url: str, *, error_cb: Callable[[Exception], Awaitable[None]], **options: Any) -> Client:
    """Connect; options are those of nats-py.

    Raises:
        OSError, TimeoutError, nats.errors.Error: As nats-py's `connect`.
    """
    client = BusClient()
    await client.connect(url, error_cb=error_cb, **options)
    return client


def is_refused_login(error: Exception) -> bool:
    """Whether the server refused user or password."""
    return isinstance(error, AuthorizationError) or AUTHORIZATION_VIOLATION in str(error).lower()
