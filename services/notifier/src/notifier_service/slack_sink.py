"""Slack: posts messages to one channel and tells what became of each."""

import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from pydantic import SecretStr
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from breakwater_core.errors import InvalidInputError
from breakwater_runtime.secret_rotation import SecretRefusedError
from notifier_service import markup
from notifier_service.message import Message
from notifier_service.sink import Lookup, NotPosted, Outcome, Posted, Refused, Unanswered

EVENT_TYPE: Final = "breakwater_message"
"""Metadata type of our messages in Slack."""
HISTORY_SEARCHED = 50
"""Newest messages of the channel among which one whose answer was lost is looked for."""
RATE_LIMITED = 429

_HINTS = {
    "invalid_auth": "Slack refused the token; set NOTIFIER_SLACK_TOKEN to the app's bot token (xoxb-...)",
    "not_authed": "Slack saw no token; set NOTIFIER_SLACK_TOKEN to the app's bot token (xoxb-...)",
    "account_inactive": "the token's user or workspace is gone; install the app anew and set NOTIFIER_SLACK_TOKEN",
    "token_revoked": "the token was revoked; install the app anew and set NOTIFIER_SLACK_TOKEN",
    "token_expired": "the token has expired; install the app anew and set NOTIFIER_SLACK_TOKEN",
    "missing_scope": "the app lacks the scope chat:write; add it and install the app anew",
    "channel_not_found": "Slack knows no such channel; correct NOTIFIER_SLACK_CHANNEL, or invite the app to it",
    "not_in_channel": "the app is not in the channel; invite it there",
    "is_archived": "the channel is archived; restore it or set NOTIFIER_SLACK_CHANNEL to another",
    "restricted_action": "the workspace does not let the app post there; ask its administrator",
}
_TOKEN_ERRORS = frozenset({"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"})
_LAYOUT_ERRORS = frozenset(
    {
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_text",
        "invalid_metadata_format",
        "invalid_metadata_schema",
        "metadata_too_large",
        "metadata_must_be_sent_from_app",
    }
)
_SERVER_ERRORS = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout"})
_CHANNEL_ID = re.compile(r"[CDG][A-Z0-9]{6,}")
_LOST = (aiohttp.ClientError, TimeoutError, OSError, ValueError, AttributeError)
"""What the client raises when a request was sent and no answer came that it can read (the last two: no JSON object)."""


class SlackSink:
    """Posts to one Slack channel. Nothing is retried in here: the caller knows what else waits."""

    def __init__(self, client: AsyncWebClient, channel: str) -> None:
        """Post to a channel, given by its id (`C...`) or name, with a client that retries nothing by itself."""
        self._client = client
        self._channel = channel
        self._channel_id = channel if _CHANNEL_ID.fullmatch(channel) else None

    async def check(self) -> Posted | NotPosted:
        """Ask Slack whether it takes the token; anything but a clear no counts as a yes."""
        outcome = await _outcome_of(self._client.auth_test())
        if isinstance(outcome, _Failure):
            if outcome.error in _TOKEN_ERRORS or outcome.rate_limited:
                return outcome.as_not_posted()
            return Posted()
        return outcome if isinstance(outcome, NotPosted) else Posted()

    async def take_token(self, token: str) -> None:
        """Post with another token from now on, if Slack takes it.

        Raises:
            SecretRefusedError: If Slack refuses it or does not answer; the token in use stays.
            InvalidInputError: If it cannot be part of a request.
        """
        client = self._client
        candidate = AsyncWebClient(
            token=checked_token(token), base_url=client.base_url, session=client.session, retry_handlers=[]
        )
        outcome = await _outcome_of(candidate.auth_test())
        if isinstance(outcome, _Failure):
            raise SecretRefusedError(outcome.explained())
        if not isinstance(outcome, dict):
            raise SecretRefusedError(outcome.reason)
        self._client = candidate

    async def post(self, message: Message, message_id: str) -> Outcome:
        """Post a message; where Slack refuses its layout, its plain text alone."""
        outcome = await self._post(message, message_id, plain=False)
        if isinstance(outcome, Refused):
            return await self._post(message, message_id, plain=True)
        return outcome

    async def find(self, message_id: str) -> Lookup:
        """Look for the message's id in the metadata of the channel's newest messages.

        Slack allows this to an app with the scope `channels:history` (`groups:history` for private channels).
        """
        if self._channel_id is None:
            return Lookup.IMPOSSIBLE
        outcome = await _outcome_of(
            self._client.conversations_history(
                channel=self._channel_id, limit=HISTORY_SEARCHED, include_all_metadata=True
            )
        )
        match outcome:
            case dict():
                return Lookup.FOUND if _holds(outcome.get("messages"), message_id) else Lookup.ABSENT
            case _Failure() if not outcome.rate_limited and not outcome.server_failed:
                return Lookup.IMPOSSIBLE
            case _:
                return Lookup.AWAY

    async def _post(self, message: Message, message_id: str, *, plain: bool) -> Outcome:
        layout: dict[str, Any] = {}
        if not plain:
            payload = {"event_type": EVENT_TYPE, "event_payload": {"message_id": message_id}}
            layout = {"blocks": [block.to_dict() for block in message.blocks], "metadata": payload}
        outcome = await _outcome_of(
            self._client.chat_postMessage(
                channel=self._channel,
                text=markup.clip(message.text, markup.TEXT_LIMIT),
                unfurl_links=False,
                unfurl_media=False,
                **layout,
            )
        )
        if isinstance(outcome, dict):
            self._channel_id = str(outcome.get("channel") or "") or self._channel_id
            return Posted()
        if not isinstance(outcome, _Failure):
            return outcome
        if outcome.server_failed:
            return Unanswered(outcome.explained(), server_failed=True)
        if outcome.error in _LAYOUT_ERRORS:
            return Refused(outcome.explained())
        return outcome.as_not_posted()


class _Failure:
    """Slack's answer, when it is a no."""

    def __init__(self, response: Any) -> None:
        # The client wraps answers; one that is no JSON it hands on as its HTTP library's response.
        self.status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
        data = getattr(response, "data", None)
        self.error = str(data.get("error") or "") if isinstance(data, dict) else ""
        self._headers = response.headers

    @property
    def server_failed(self) -> bool:
        return self.status >= 500 or self.error in _SERVER_ERRORS

    @property
    def rate_limited(self) -> bool:
        return self.status == RATE_LIMITED or self.error in {"ratelimited", "rate_limited"}

    def as_not_posted(self) -> NotPosted:
        text = str(self._headers.get("Retry-After") or "") if self.rate_limited else ""
        retry_after_s = float(text) if text.isdecimal() else None
        return NotPosted(self.explained(), retry_after_s, only_a_pause=self.rate_limited)

    def explained(self) -> str:
        word = re.sub(r"[^a-z0-9_]", "", self.error)[:60] or f"HTTP {self.status}"
        if self.rate_limited:
            return "Slack asks for a pause (HTTP 429)"
        if hint := _HINTS.get(word):
            return f"{word}: {hint}"
        return f"Slack answered {word}"


async def _outcome_of(request: Awaitable[Any]) -> dict[str, Any] | _Failure | NotPosted | Unanswered:
    """Return Slack's answer to a request, or what came instead of one.

    Texts of exceptions are not passed on: they may quote requests.
    """
    try:
        answer = await request
    except SlackApiError as error:
        return _Failure(error.response)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
        return NotPosted(
            f"Slack cannot be reached ({type(error).__name__}); check the network and NOTIFIER_SLACK_BASE_URL"
        )
    except _LOST as error:
        return Unanswered(f"Slack's answer was lost ({type(error).__name__})", server_failed=False)
    return dict(answer.data)


def _holds(messages: Any, message_id: str) -> bool:
    for message in messages if isinstance(messages, list) else []:
        payload = (message.get("metadata") or {}).get("event_payload") or {}
        if payload.get("message_id") == message_id:
            return True
    return False


def checked_token(token: str) -> str:
    """Return the token without surrounding blanks.

    Raises:
        InvalidInputError: If it cannot be part of a request; the message does not quote it.
    """
    secret = token.strip()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidInputError("the Slack token has characters that no token has; set NOTIFIER_SLACK_TOKEN anew")
    return secret


@asynccontextmanager
async def open_slack(*, token: SecretStr, channel: str, base_url: str, timeout_s: float) -> AsyncIterator[SlackSink]:
    """Offer the channel while the context is open; a request takes at most `timeout_s` seconds.

    Each request has a connection of its own. One kept open may have been closed by Slack in the meantime, and then
    nobody could tell whether a message sent on it arrived.

    Raises:
        InvalidInputError: If the token cannot be part of a request, e.g. because it has a line break inside.
    """
    secret = checked_token(token.get_secret_value())
    timeout = aiohttp.ClientTimeout(total=timeout_s, connect=timeout_s / 2)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(force_close=True)) as session:
        client = AsyncWebClient(token=secret, base_url=base_url, session=session, retry_handlers=[])
        yield SlackSink(client, channel)
