"""The three WebSocket endpoints: public data, private data, order entry. Frames as Bybit's, pongs in three shapes."""

import hashlib
import hmac
import uuid
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket

from paper_exchange_service.api.order_endpoints import SOCKET_OPERATIONS
from paper_exchange_service.connection import Connection
from paper_exchange_service.engine.accounts import Account
from paper_exchange_service.engine.refusal import Refusal
from paper_exchange_service.fault_layer import banned
from paper_exchange_service.faults import CodeAnswer, HttpAnswer, Lost
from paper_exchange_service.gateway import ENDPOINTS, Gateway, Reply
from paper_exchange_service.private_feed import PRIVATE_TOPICS, PrivateFeed
from paper_exchange_service.public_feed import PublicFeed
from paper_exchange_service.venue import wall_clock_ms

_LONGEST_ARGS = 21_000
_LONGEST_REQUEST_ID = 36
SOCKET_KINDS = ("private", "public", "trade")
"""The kinds of sockets, as `drop` names them."""


class Sockets:
    """Serves connections of the three kinds."""

    def __init__(
        self,
        gateway: Gateway,
        public: PublicFeed,
        private: PrivateFeed,
        *,
        queue_frames: int = 20_000,
        reply_delay_s: float = 0.003,
    ) -> None:
        self._gateway = gateway
        self._public = public
        self._private = private
        self._queue_frames = queue_frames
        self._reply_delay_s = reply_delay_s
        self.connections: dict[Connection, str] = {}
        """Open connections with their kinds."""

    async def public(self, socket: WebSocket) -> None:
        """Serve `/v5/public/linear`."""
        connection = await self._accept(socket, "public")
        session = PublicSession(connection, self._public)
        try:
            await connection.run(session.received)
        finally:
            self.connections.pop(connection, None)
            self._public.leave_all(connection)

    async def private(self, socket: WebSocket) -> None:
        """Serve `/v5/private`."""
        connection = await self._accept(socket, "private")
        session = PrivateSession(connection, self._gateway, self._private)
        try:
            await connection.run(session.received)
        finally:
            self.connections.pop(connection, None)
            if session.account is not None:
                self._private.leave(session.account, connection)

    async def trade(self, socket: WebSocket) -> None:
        """Serve `/v5/trade`."""
        connection = await self._accept(socket, "trade")
        try:
            await connection.run(TradeSession(connection, self._gateway).received)
        finally:
            self.connections.pop(connection, None)

    def close_all(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            connection.close_after_replies()

    def drop(self, kind: str, account: str = "") -> int:
        """Close connections at once, as a network does that fails; return how many.

        Args:
            kind: One of `SOCKET_KINDS`.
            account: Only those that are logged in to the account; empty: all.
        """
        dropped = [
            connection
            for connection, known in self.connections.items()
            if known == kind and account in {"", connection.account}
        ]
        for connection in dropped:
            connection.drop()
        return len(dropped)

    async def _accept(self, socket: WebSocket, kind: str) -> Connection:
        await socket.accept()
        connection = Connection(socket, queue_frames=self._queue_frames, reply_delay_s=self._reply_delay_s)
        self.connections[connection] = kind
        return connection


class PublicSession:
    """What one public connection says."""

    def __init__(self, connection: Connection, feed: PublicFeed) -> None:
        self._connection = connection
        self._feed = feed

    async def received(self, frame: dict[str, Any]) -> None:
        """Handle a frame."""
        operation, request_id = frame.get("op"), str(frame.get("req_id") or "")
        if operation == "ping":
            self._reply("ping", request_id, success=True, text="pong")
            return
        topics = [topic for topic in frame.get("args") or () if isinstance(topic, str)]
        if operation == "subscribe":
            unknown = [topic for topic in topics if not self._feed.accepts(topic)]
            if unknown or not topics:
                text = f"error:handler not found,topic:{','.join(unknown)}" if topics else "Params Error"
                self._reply("subscribe", request_id, success=False, text=text)
                return
            if sum(map(len, self._connection.topics)) + sum(map(len, topics)) > _LONGEST_ARGS:
                self._reply("subscribe", request_id, success=False, text="error:args length exceeds 21000")
                return
            self._reply("subscribe", request_id, success=True, text="", then=lambda: self._join(topics))
        elif operation == "unsubscribe":
            for topic in topics:
                self._feed.leave(topic, self._connection)
            self._reply("unsubscribe", request_id, success=True, text="")
        else:
            self._reply(str(operation), request_id, success=False, text="Params Error")

    def _join(self, topics: list[str]) -> None:
        for topic in topics:
            self._feed.join(topic, self._connection)

    def _reply(
        self, operation: str, request_id: str, *, success: bool, text: str, then: Callable[[], None] = lambda: None
    ) -> None:
        frame = {
            "success": success,
            "ret_msg": text,
            "conn_id": self._connection.id,
            "req_id": request_id,
            "op": operation,
        }
        self._connection.settle(frame, then)


class PrivateSession:
    """What one private connection says."""

    def __init__(self, connection: Connection, gateway: Gateway, feed: PrivateFeed) -> None:
        self.account: Account | None = None
        self._connection = connection
        self._gateway = gateway
        self._feed = feed

    async def received(self, frame: dict[str, Any]) -> None:
        """Handle a frame."""
        operation, request_id = frame.get("op"), str(frame.get("req_id") or "")
        if operation == "ping":
            pong = {"req_id": request_id, "op": "pong", "args": [str(wall_clock_ms())], "conn_id": self._connection.id}
            self._connection.reply(pong)
        elif operation == "auth":
            self._login(frame, request_id)
        elif operation == "subscribe":
            self._subscribe(frame, request_id)
        elif operation == "unsubscribe":
            self._connection.topics.difference_update(map(str, frame.get("args") or ()))
            self._reply("unsubscribe", request_id, success=True, text="")
        else:
            self._reply(str(operation), request_id, success=False, text="Params Error")

    def _login(self, frame: dict[str, Any], request_id: str) -> None:
        try:
            self.account = authenticate_socket(self._gateway, frame.get("args"), self._connection.address)
        except Refusal as refusal:
            self._reply("auth", request_id, success=False, text=refusal.text)
            self._connection.close_after_replies()
            return
        self._feed.join(self.account, self._connection)
        self._reply("auth", request_id, success=True, text="")

    def _subscribe(self, frame: dict[str, Any], request_id: str) -> None:
        topics = [topic for topic in frame.get("args") or () if isinstance(topic, str)]
        if self.account is None:
            self._reply("subscribe", request_id, success=False, text="Request not authorized")
            self._connection.close_after_replies()
            return
        unknown = [topic for topic in topics if topic not in PRIVATE_TOPICS]
        mixed = any(
            topic.removesuffix(".linear") != topic and topic.removesuffix(".linear") in topics for topic in topics
        )
        if unknown or mixed or not topics:
            text = f"error:handler not found,topic:{','.join(unknown)}" if unknown else "Params Error"
            self._reply("subscribe", request_id, success=False, text=text)
            return
        self._connection.topics.update(topics)
        self._reply("subscribe", request_id, success=True, text="")

    def _reply(self, operation: str, request_id: str, *, success: bool, text: str) -> None:
        frame = {
            "success": success,
            "ret_msg": text,
            "op": operation,
            "conn_id": self._connection.id,
            "req_id": request_id,
        }
        self._connection.settle(frame)


class TradeSession:
    """What one order connection says."""

    def __init__(self, connection: Connection, gateway: Gateway) -> None:
        self._connection = connection
        self._gateway = gateway
        self._account: Account | None = None
        self._key = ""
        self._seen: set[str] = set()

    async def received(self, frame: dict[str, Any]) -> None:
        """Handle a frame."""
        operation, request_id = str(frame.get("op")), str(frame.get("reqId") or "")
        if operation == "ping":
            self._reply({"retCode": 0, "retMsg": "OK", "op": "pong", "data": [str(wall_clock_ms())]}, request_id)
        elif operation == "auth":
            self._login(frame, request_id)
        else:
            answered = await self._order(operation, request_id, frame)
            if answered is None:
                self._connection.drop()
            else:
                self._answer(operation, request_id, *answered)

    def _login(self, frame: dict[str, Any], request_id: str) -> None:
        if self._account is not None:
            self._reply({"retCode": 20001, "retMsg": "Repeat auth", "op": "auth"}, request_id)
            return
        try:
            self._account = authenticate_socket(self._gateway, frame.get("args"), self._connection.address)
            self._key = str(frame["args"][0])
            self._connection.account = self._account.name
        except Refusal as refusal:
            self._reply({"retCode": refusal.code, "retMsg": refusal.text, "op": "auth"}, request_id)
            self._connection.close_after_replies()
            return
        self._reply({"retCode": 0, "retMsg": "OK", "op": "auth"}, request_id)

    async def _order(self, operation: str, request_id: str, frame: dict[str, Any]) -> tuple[Reply, float] | None:
        """Return the answer and how much later than usual it comes, or None if the connection is closed instead."""
        found = self._request(operation, request_id, frame)
        if isinstance(found, Reply):
            return found, 0.0
        path, params, stamp_ms = found
        endpoint, gateway, address = ENDPOINTS["POST", path], self._gateway, self._connection.address
        if gateway.faults.is_banned(address, wall_clock_ms()):
            return Reply(banned().code, "The IP is banned.", {}, {}), 0.0
        verdict = gateway.judge(("POST", path), params, self._account, address, stamp_ms)
        reply = Reply(0, "", {}, {})
        if verdict.handled:
            reply = await gateway.answer(endpoint, params, self._account, stamp_ms, self._key)
        answer = verdict.answer
        if isinstance(answer, Lost):
            return None
        if isinstance(answer, HttpAnswer):
            reply = Reply(answer.code, answer.body.decode(), {}, {})
        elif isinstance(answer, CodeAnswer):
            reply = gateway.injected(answer, endpoint)
        return reply, verdict.delay_s

    def _request(
        self, operation: str, request_id: str, frame: dict[str, Any]
    ) -> Reply | tuple[str, dict[str, Any], int]:
        """Return path, parameters and stamp of an operation, or the refusal of one that is malformed."""
        path = SOCKET_OPERATIONS.get(operation)
        if path is None:
            return Reply(10404, "op type is not found; category is not correct/supported", {}, {})
        if len(request_id) > _LONGEST_REQUEST_ID:
            return Reply(10001, "params error: reqId is too long", {}, {})
        if request_id in self._seen:
            return Reply(20006, "Duplicated reqId", {}, {})
        if request_id:
            self._seen.add(request_id)
        if self._account is None:
            return Reply(10003, "API key is invalid.", {}, {})
        header, args = frame.get("header") or {}, frame.get("args")
        if not isinstance(header, dict) or not isinstance(args, list) or not args or not isinstance(args[0], dict):
            return Reply(10001, "params error: header and args are required", {}, {})
        if args[0].get("category") != "linear":
            return Reply(10404, "op type is not found; category is not correct/supported", {}, {})
        try:
            window = str(header.get("X-BAPI-RECV-WINDOW") or 5000)
            stamp_ms = self._gateway.check_time(str(header.get("X-BAPI-TIMESTAMP")), window)
        except Refusal as refusal:
            return Reply(refusal.code, refusal.text, {}, {})
        return path, args[0], stamp_ms

    def _answer(self, operation: str, request_id: str, reply: Reply, delay_s: float) -> None:
        header: dict[str, str] = {}
        if reply.allowance is not None:
            header = {
                "X-Bapi-Limit": str(reply.allowance.limit),
                "X-Bapi-Limit-Status": str(reply.allowance.left),
                "X-Bapi-Limit-Reset-Timestamp": str(reply.allowance.reset_ms),
            }
        header |= {"Traceid": uuid.uuid4().hex, "Timenow": str(wall_clock_ms())}
        self._reply(
            {
                "retCode": reply.code,
                "retMsg": reply.text,
                "op": operation,
                "data": reply.result,
                "retExtInfo": reply.extra,
                "header": header,
            },
            request_id,
            delay_s,
        )

    def _reply(self, frame: dict[str, Any], request_id: str, delay_s: float = 0.0) -> None:
        named = {"reqId": request_id} if request_id else {}
        self._connection.reply(named | frame | {"connId": self._connection.id}, delay_s=delay_s)


def authenticate_socket(gateway: Gateway, args: object, address: str) -> Account:
    """Return the account that a socket logs in to; `args` are key, expiry and signature.

    Raises:
        Refusal: If the key, the signature or the address does not fit, or the expiry has passed.
    """
    if not isinstance(args, list) or len(args) != 3:
        raise Refusal(10001, "Params Error")
    key, expires, signature = (str(value) for value in args)
    account = gateway.venue.engine.keys.get(key)
    if account is None:
        raise Refusal(10003, "API key is invalid.")
    origin = f"GET/realtime{expires}".encode()
    credentials = account.credentials_of(key)
    expected = hmac.new(credentials.secret.encode(), origin, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, signature.lower()):
        raise Refusal(10004, "error sign!")
    gateway.faults.count_skew(gateway.venue.now_ms())
    if not expires.isdigit() or (gateway.venue.checks_time and int(expires) <= gateway.venue.server_ms()):
        raise Refusal(10002, "Params Error: expires has passed")
    gateway.check_key(credentials, address)
    return account
