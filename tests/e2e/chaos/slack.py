"""Slack, as far as the notifier uses it, over HTTP: keeps what was posted, and can be away."""

import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "xoxb-chaos"
CHANNEL = "C0123456789"


@dataclass
class SlackStandIn:
    """A channel that somebody reads.

    Attributes:
        messages: What was posted, oldest first.
        away_until_s: 503 until then, monotonic seconds.
        refused: Posts that met a 503.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    away_until_s: float = 0.0
    refused: int = 0
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    async def start(self) -> None:
        application = web.Application()
        application.router.add_post("/api/chat.postMessage", self._post)
        application.router.add_post("/api/auth.test", self._test)
        application.router.add_route("*", "/api/conversations.history", self._history)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def go_away(self, seconds: float) -> None:
        self.away_until_s = time.monotonic() + seconds

    def executions(self) -> Counter[str]:
        """Return how often each execution was told."""
        return Counter(
            found for message in self.messages for found in re.findall(r"execution ([0-9a-f-]+)", json.dumps(message))
        )

    async def _test(self, _request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def _history(self, _request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "messages": self.messages[::-1][:100]})

    async def _post(self, request: web.Request) -> web.Response:
        message = await request.json()
        if time.monotonic() < self.away_until_s:
            self.refused += 1
            return web.json_response({"ok": False, "error": "service_unavailable"}, status=503)
        self.messages.append(message)
        return web.json_response({"ok": True, "channel": CHANNEL, "ts": str(len(self.messages))})
