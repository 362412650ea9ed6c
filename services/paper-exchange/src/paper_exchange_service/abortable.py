"""An HTTP protocol whose connections can be cut off without an answer, as a network does that fails."""

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_ABORT = "breakwater.abort"


class AbortableProtocol(HttpToolsProtocol):
    """uvicorn's own, with the means to cut the connection off in the request's scope."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {_ABORT: {"transport": self.transport}}


async def cut_off(scope: Scope, receive: Receive) -> None:
    """Close a request's connection without a byte of an answer."""
    scope["extensions"][_ABORT]["transport"].abort()
    while (await receive())["type"] != "http.disconnect":
        pass
