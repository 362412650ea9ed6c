"""The paper exchange's own interface under `/paper/`, which is not Bybit's: deposits, faults, the exchange's books."""

from decimal import Decimal
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from breakwater_core.decimals import from_text, to_text
from breakwater_core.errors import InvalidInputError
from paper_exchange_service.api.rows import (
    execution_frame_row,
    order_frame_row,
    position_row,
    transaction_row,
    wallet_row,
)
from paper_exchange_service.engine.accounts import Account
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.fault_layer import FaultLayer
from paper_exchange_service.fault_rules import NO_RULES, parse_rules
from paper_exchange_service.private_feed import PrivateFeed
from paper_exchange_service.rate_limits import RateLimits
from paper_exchange_service.settings import AccountSettings
from paper_exchange_service.sockets import SOCKET_KINDS, Sockets
from paper_exchange_service.venue import Venue


class Control:
    """Handlers of the control interface."""

    def __init__(
        self, venue: Venue, limits: RateLimits, private: PrivateFeed, faults: FaultLayer, sockets: Sockets
    ) -> None:
        self._venue = venue
        self._limits = limits
        self._private = private
        self._faults = faults
        self._sockets = sockets

    @property
    def routes(self) -> list[Route]:
        """The routes to mount."""
        return [
            Route("/paper/deposit", self.deposit, methods=["POST"]),
            Route("/paper/books", self.books, methods=["GET"]),
            Route("/paper/faults", self.faults, methods=["GET"]),
            Route("/paper/faults", self.set_faults, methods=["PUT"]),
            Route("/paper/faults", self.clear_faults, methods=["DELETE"]),
            Route("/paper/drop", self.drop, methods=["POST"]),
            Route("/paper/keys", self.add_key, methods=["POST"]),
            Route("/paper/keys", self.revoke_key, methods=["DELETE"]),
            Route("/paper/health", self.health, methods=["GET"]),
        ]

    async def deposit(self, request: Request) -> Response:
        """POST /paper/deposit `{"account": name, "amount": "100.5"}`; a negative amount withdraws."""
        engine = self._venue.engine
        try:
            values = orjson.loads(await request.body())
            account = engine.accounts[str(values["account"])]
            amount = from_text(str(values["amount"]))
            at_ms = int(values.get("at_ms") or self._venue.now_ms())
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, InvalidInputError):
            names = ", ".join(sorted(engine.accounts))
            return _json({"error": f'send {{"account": one of {names}, "amount": decimal text}}'}, status=400)
        engine.transfer(account, amount, at_ms)
        return _json({"account": account.name, "wallet": to_text(account.wallet)})

    async def books(self, request: Request) -> Response:
        """GET /paper/books: per account orders, executions, transactions, positions and wallet, oldest first.

        `?at_ms=` values positions at another time than now.
        """
        given = request.query_params.get("at_ms", "")
        at_ms = int(given) if given.isdigit() else self._venue.now_ms()
        return _json(books(self._venue.engine, self._limits, self._faults, at_ms))

    async def faults(self, _request: Request) -> Response:
        """GET /paper/faults: the rules with their hits, and the hits by kind."""
        return _json(self._faults.state())

    async def set_faults(self, request: Request) -> Response:
        """PUT /paper/faults `{"seed": 7, "rules": [...]}`: replaces the rules; if one is wrong: 400, no change."""
        try:
            rules = parse_rules(await request.body(), self._venue.now_ms())
        except InvalidInputError as error:
            return _json({"error": str(error)}, status=400)
        self._faults.set_rules(rules)
        return _json(self._faults.state())

    async def clear_faults(self, _request: Request) -> Response:
        """DELETE /paper/faults: everything works again; answers what the rules have hit."""
        state = self._faults.state()
        self._faults.set_rules(NO_RULES)
        return _json(state)

    async def drop(self, request: Request) -> Response:
        """POST /paper/drop `{"socket": "private", "account": "main"}`: closes sockets now; `account` may be absent."""
        try:
            values = orjson.loads(await request.body())
            kind, account = values["socket"], str(values.get("account") or "")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            kind, account = None, ""
        if kind not in SOCKET_KINDS:
            return _json({"error": f"socket: must be one of {', '.join(SOCKET_KINDS)}"}, status=400)
        if account and account not in self._venue.engine.accounts:
            return _json({"error": f"account: must be one of {', '.join(sorted(self._venue.engine.accounts))}"}, 400)
        return _json({"socket": kind, "dropped": self._sockets.drop(kind, account)})

    async def add_key(self, request: Request) -> Response:
        """POST /paper/keys: gives an account a further key; the body is one of `PAPER_EXCHANGE_ACCOUNTS`."""
        engine = self._venue.engine
        try:
            given = AccountSettings.model_validate_json(await request.body())
            engine.add_key(engine.accounts[given.name], given.credentials)
        except (ValidationError, KeyError, InvalidInputError):
            names = ", ".join(sorted(engine.accounts))
            return _json({"error": f'send {{"name": one of {names}, "key": a free one, "secret": text}}'}, status=400)
        return _json({"account": given.name})

    async def revoke_key(self, request: Request) -> Response:
        """DELETE /paper/keys `{"key": text}`: nobody can use it any more; the account's private sockets are closed."""
        engine = self._venue.engine
        try:
            key = str(orjson.loads(await request.body())["key"])
            account = engine.keys[key]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return _json({"error": 'send {"key": a known key}'}, status=400)
        engine.revoke_key(key)
        return _json({"account": account.name, "dropped": self._sockets.drop("private", account.name)})

    async def health(self, _request: Request) -> Response:
        """GET /paper/health: how far prices reach, and which private topics each account reads."""
        engine = self._venue.engine
        return _json(
            {
                "ready": any(market.prices.total for market in engine.markets.values()),
                "now_ms": self._venue.now_ms(),
                "symbols": {symbol: market.prices.last_ms for symbol, market in sorted(engine.markets.items())},
                "accounts": {name: sorted(self._private.subscribed(name)) for name in sorted(engine.accounts)},
            }
        )


def books(engine: Engine, limits: RateLimits, faults: FaultLayer, at_ms: int) -> dict[str, Any]:
    """Return the exchange's own books: the same whatever the order in which requests of different symbols arrived.

    Only `request_rates`, how close clients came to the limits, is in wall-clock time.
    """
    return {
        "accounts": {name: account_books(engine, account, at_ms) for name, account in sorted(engine.accounts.items())},
        "limit_breaches": dict(sorted(limits.breaches.items())),
        "address_limit_breaches": limits.address_breaches,
        "injected": dict(sorted(faults.injected.items())),
        "request_rates": limits.usage({account.uid: name for name, account in engine.accounts.items()}),
    }


def account_books(engine: Engine, account: Account, at_ms: int) -> dict[str, Any]:
    """Return the books of one account."""
    balance = Decimal(0)
    transactions = []
    for entry in account.transactions:
        balance += entry.change
        transactions.append(transaction_row(account, entry, balance))
    return {
        "orders": [order_frame_row(order) for order in account.order_log],
        "executions": [execution_frame_row(fill) for fill in account.executions],
        "transactions": transactions,
        "positions": [
            position_row(engine, account, account.positions[key], at_ms)
            for key in sorted(account.positions)
            if account.positions[key].created_ms
        ],
        "wallet": wallet_row(engine, account, at_ms),
        "totals": {
            "wallet": to_text(account.wallet),
            "deposits": to_text(account.deposits),
            "realised": to_text(account.realised),
            "fees": to_text(account.fees),
            "funding": to_text(account.funding),
        },
    }


def _json(values: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(values), status_code=status, media_type="application/json")
