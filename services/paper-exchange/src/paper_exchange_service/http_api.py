"""Bybit's REST API as an ASGI endpoint: raw bytes in, signed requests checked, envelopes and headers out."""

import asyncio
import uuid
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope, Send

from paper_exchange_service.abortable import cut_off
from paper_exchange_service.engine.accounts import Account
from paper_exchange_service.engine.refusal import Refusal
from paper_exchange_service.fault_layer import banned
from paper_exchange_service.faults import CodeAnswer, HttpAnswer, Lost
from paper_exchange_service.gateway import ENDPOINTS, Gateway, Reply, Signed
from paper_exchange_service.venue import wall_clock_ms

_LONGEST_BODY = 1 << 20
_JSON = (b"content-type", b"application/json; charset=utf-8")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_NOT_FOUND = orjson.dumps({"retCode": 10017, "retMsg": "Route not found.", "result": {}, "retExtInfo": {}})
_UNSIGNED = orjson.dumps({"retCode": 10001, "retMsg": "params error: authentication headers are missing", "result": {}})


class RestApi:
    """The ASGI endpoint of everything under `/v5/` that is no stream."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        method, path = scope["method"], scope["path"]
        body = await _read(receive)
        address = scope["client"][0] if scope["client"] else ""
        now_ms = wall_clock_ms()
        admitted = self._gateway.limits.admit(address, now_ms)
        if self._gateway.faults.is_banned(address, now_ms) or not admitted or (method == "GET" and body):
            await _respond(send, 403, banned().body, [])
            return
        endpoint = ENDPOINTS.get((method, path))
        if endpoint is None:
            await _respond(send, 404, _NOT_FOUND, [_JSON])
            return
        signed = Signed.of(dict(scope["headers"]))
        if endpoint.private and signed is None:
            await _respond(send, 401, _UNSIGNED, [_JSON])
            return
        started_s = asyncio.get_running_loop().time()
        payload = body if method == "POST" else scope["query_string"]
        account: Account | None = None
        stamp_ms: int | None = None
        reply: Reply | None = None
        try:
            if endpoint.private and signed is not None:
                account, stamp_ms = self._gateway.authenticate(signed, payload, address)
            params = _body_params(body) if method == "POST" else dict(parse_qsl(payload.decode("latin-1")))
        except Refusal as refusal:
            params = {}
            reply = Reply(refusal.code, refusal.text, {}, {})
        verdict = self._gateway.judge((method, path), params, account, address, stamp_ms)
        if verdict.handled:
            reply = reply or await self._gateway.answer(
                endpoint, params, account, stamp_ms, signed.key if signed is not None else ""
            )
        delay_s = verdict.delay_s + (self._gateway.venue.ack_delay_s if endpoint.private else 0.0)
        delay_s -= asyncio.get_running_loop().time() - started_s
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        answer = verdict.answer
        if isinstance(answer, Lost):
            await cut_off(scope, receive)
            return
        if isinstance(answer, HttpAnswer):
            await _respond(send, answer.status, answer.body, [_TEXT])
            return
        if isinstance(answer, CodeAnswer):
            reply = self._gateway.injected(answer, endpoint)
        assert reply is not None  # what is not handled has an answer of its own
        now_ms = self._gateway.venue.server_ms()
        headers = [_JSON, (b"traceid", uuid.uuid4().hex.encode()), (b"timenow", b"%d" % now_ms)]
        if reply.allowance is not None:
            headers.extend(reply.allowance.headers)
        await _respond(send, 200, envelope(reply, now_ms), headers)


def envelope(reply: Reply, now_ms: int) -> bytes:
    """Return the JSON text around a result."""
    return orjson.dumps(
        {
            "retCode": reply.code,
            "retMsg": reply.text,
            "result": reply.result,
            "retExtInfo": reply.extra,
            "time": now_ms,
        }
    )


def _body_params(body: bytes) -> dict[str, Any]:
    try:
        values = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise Refusal(10001, "params error: request body is not JSON") from error
    if not isinstance(values, dict):
        raise Refusal(10001, "params error: request body is not an object")
    return values


async def _read(receive: Receive) -> bytes:
    message: MutableMapping[str, Any] = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body") and len(body) <= _LONGEST_BODY:
        message = await receive()
        body += message.get("body", b"")
    return body


async def _respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    sized = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": sized})
    await send({"type": "http.response.body", "body": body})
