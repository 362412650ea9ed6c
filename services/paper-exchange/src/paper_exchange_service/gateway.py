"""From a request to an answer: who asks, may they, how often, and when. Shared by REST and the order socket."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paper_exchange_service.api.account_endpoints import ACCOUNT_ENDPOINTS
from paper_exchange_service.api.call import Answer, Call, Endpoint, Settles, Waits
from paper_exchange_service.api.market_endpoints import MARKET_ENDPOINTS
from paper_exchange_service.api.order_endpoints import ORDER_ENDPOINTS
from paper_exchange_service.engine.accounts import Account, Credentials
from paper_exchange_service.engine.refusal import Refusal
from paper_exchange_service.fault_layer import FaultLayer, request_subject
from paper_exchange_service.faults import CodeAnswer, Verdict
from paper_exchange_service.rate_limits import Allowance, RateLimits
from paper_exchange_service.venue import Venue, wall_clock_ms

ENDPOINTS: dict[tuple[str, str], Endpoint] = MARKET_ENDPOINTS | ORDER_ENDPOINTS | ACCOUNT_ENDPOINTS
_FUTURE_MS = 1000
_DEFAULT_WINDOW = "5000"


@dataclass(frozen=True, slots=True)
class Signed:
    """The authentication headers of a request."""

    key: str
    timestamp: str
    window: str
    signature: str

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes]) -> "Signed | None":
        """Return what the headers hold, or None if one is missing."""
        try:
            key, timestamp, signature = (
                headers[name].decode("latin-1") for name in (b"x-bapi-api-key", b"x-bapi-timestamp", b"x-bapi-sign")
            )
        except KeyError:
            return None
        return cls(
            key, timestamp, headers.get(b"x-bapi-recv-window", b"").decode("latin-1") or _DEFAULT_WINDOW, signature
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """An envelope's contents and the limits that go into the headers."""

    code: int
    text: str
    result: dict[str, Any]
    extra: dict[str, Any]
    allowance: Allowance | None = None


class Gateway:
    """Checks requests and has the endpoints answer them."""

    def __init__(self, venue: Venue, limits: RateLimits, faults: FaultLayer) -> None:
        self.venue = venue
        self.limits = limits
        self.faults = faults

    def authenticate(self, signed: Signed, payload: bytes, address: str) -> tuple[Account, int]:
        """Return the account behind a signature and the stamp of the request.

        The signature is checked against the bytes as they were sent.

        Raises:
            Refusal: If the key, the signature, the time or the address does not fit.
        """
        account = self.venue.engine.keys.get(signed.key)
        if account is None:
            raise Refusal(10003, "API key is invalid.")
        origin = f"{signed.timestamp}{signed.key}{signed.window}".encode() + payload
        credentials = account.credentials_of(signed.key)
        expected = hmac.new(credentials.secret.encode(), origin, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signed.signature.lower()):
            text = origin.decode("utf-8", "replace")
            raise Refusal(10004, f"error sign! origin_string[{text}]")
        stamp_ms = self.check_time(signed.timestamp, signed.window)
        self.check_key(credentials, address)
        return account, stamp_ms

    def check_time(self, timestamp: str, window: str) -> int:
        """Return the stamp of a request.

        Raises:
            Refusal: If it is no number, or too far from the venue's time.
        """
        now_ms = self.venue.server_ms()
        try:
            stamp_ms, window_ms = int(timestamp), int(window)
        except ValueError as error:
            raise Refusal(10001, "params error: invalid timestamp or recv_window") from error
        if self.venue.checks_time and not now_ms - window_ms <= stamp_ms < now_ms + _FUTURE_MS:
            raise Refusal(
                10002,
                "invalid request, please check your server timestamp or recv_window param. "
                f"req_timestamp[{stamp_ms}],server_timestamp[{now_ms}],recv_window[{window_ms}]",
            )
        return stamp_ms

    def check_key(self, key: Credentials, address: str) -> None:
        """Refuse a key that has expired or may not be used from the address."""
        if key.expires_ms is not None and self.venue.now_ms() >= key.expires_ms:
            raise Refusal(33004, "Your api key has expired.")
        if key.ips and address not in key.ips:
            raise Refusal(10010, "Unmatched IP, please check your API key's bound IP addresses.")

    def permit(self, key: Credentials, endpoint: Endpoint) -> None:
        """Refuse an operation that the key has no right to."""
        if (endpoint.changes and key.read_only) or (endpoint.needs and endpoint.needs not in key.permissions):
            raise Refusal(10005, "Permission denied, please check your API key permissions.")

    def judge(
        self,
        route: tuple[str, str],
        params: Mapping[str, Any],
        account: Account | None,
        address: str,
        stamp_ms: int | None,
    ) -> Verdict:
        """Return what becomes of a request: whether it is handled, and what is answered.

        Args:
            route: Method and path of an endpoint.
            params: Its parameters.
            account: Who asks; None: nobody who is known.
            address: Where it comes from.
            stamp_ms: The request's own stamp; None: it has none.
        """
        method, path = route
        subject = request_subject(path, account.name if account else "", params, self.venue.time_of(stamp_ms))
        changes = ENDPOINTS[route].changes
        return self.faults.of_request(subject, method, address, changes=changes, now_ms=wall_clock_ms())

    def injected(self, answer: CodeAnswer, endpoint: Endpoint) -> Reply:
        """Return the envelope of an injected return code; one of a limit comes with that limit's headers."""
        allowance = None
        if answer.reset_in_ms is not None and endpoint.private:
            limit = self.limits.limit_of(endpoint.group, endpoint.limit)
            allowance = Allowance(limit, 0, 0, wall_clock_ms() + answer.reset_in_ms)
        return Reply(answer.code, answer.text, {}, {}, allowance)

    async def answer(
        self,
        endpoint: Endpoint,
        params: Mapping[str, Any],
        account: Account | None,
        stamp_ms: int | None,
        key: str = "",
    ) -> Reply:
        """Answer a request that is authenticated if it needs to be, with the named one of the account's keys."""
        allowance = None
        try:
            if endpoint.private:
                if account is None:
                    raise Refusal(10003, "API key is invalid.")
                self.permit(account.credentials_of(key), endpoint)
                allowance = self._allowance(endpoint, params, account)
                if not allowance.granted:
                    raise Refusal(10006, "Too many visits. Exceeded the API Rate Limit.")
            at_ms = await self.venue.arrive(endpoint, stamp_ms)
            granted = allowance.granted if allowance and endpoint.batch else None
            answer = self._handle(endpoint, params, account, at_ms, granted, key)
        except Refusal as refusal:
            return Reply(refusal.code, refusal.text, {}, {}, allowance)
        return Reply(0, "OK", answer.result, answer.extra, allowance)

    def _handle(
        self,
        endpoint: Endpoint,
        params: Mapping[str, Any],
        account: Account | None,
        at_ms: int,
        granted: int | None,
        key: str,
    ) -> Answer:
        if account is not None and endpoint.settles is not Settles.NOTHING:
            self.venue.settle(account, endpoint, _settled_symbol(endpoint, params), at_ms)
        return endpoint.handler(Call(self.venue, params, at_ms, account, granted, key))

    def _allowance(self, endpoint: Endpoint, params: Mapping[str, Any], account: Account) -> Allowance:
        count = 1
        if endpoint.batch:
            items = params.get("request")
            count = max(1, len(items)) if isinstance(items, list) else 1
        return self.limits.take(account.uid, endpoint.group, endpoint.limit, count, wall_clock_ms())


def _settled_symbol(endpoint: Endpoint, params: Mapping[str, Any]) -> str:
    """Return the symbol that must be settled before an answer; empty: all, as for an order that needs free margin."""
    symbol = params.get("symbol")
    opens = endpoint.waits is Waits.MATCH and not params.get("reduceOnly")
    return symbol if isinstance(symbol, str) and not opens else ""
