"""Messages as lines of text on standard output, for those who run without Slack."""

import asyncio
import sys
from typing import TextIO

from notifier_service.message import Message
from notifier_service.sink import Lookup, NotPosted, Posted


class ConsoleSink:
    """Writes each message as one line. This is the service's output, unlike its log, which goes to standard error."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to the stream; None: standard output."""
        self._stream = sys.stdout if stream is None else stream

    async def check(self) -> Posted | NotPosted:
        """Tell that lines can be written."""
        return Posted()

    async def post(self, message: Message, message_id: str) -> Posted:
        """Write the message as one line."""
        self._stream.write(message.text + "\n")
        await asyncio.to_thread(self._stream.flush)
        return Posted()

    async def find(self, message_id: str) -> Lookup:
        """Tell that lines cannot be looked up; writing one never leaves it open whether it was written."""
        return Lookup.IMPOSSIBLE
