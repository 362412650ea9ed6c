"""The paper exchange's own interface under `/paper/`, which is not Bybit's: deposits, and the exchange's books."""

from decimal import Decimal
from typing import Any

import orjson
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
from paper_exchange_service.private_feed import PrivateFeed
from paper_exchange_service.rate_limits import RateLimits
from paper_exchange_service.venue import Venue


class Control:
    """Handlers of the control interface."""

    def __init__(self, venue: Venue, limits: RateLimits, private: PrivateFeed) -> None:
        self._venue = venue
        self._limits = limits
        self._private = private

    @property
    def routes(self) -> list[Route]:
        """The routes to mount."""
        return [
            Route("/paper/deposit", self.deposit, methods=["POST"]),
            Route("/paper/books", self.books, methods=["GET"]),
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
        return _json(books(self._venue.engine, self._limits, at_ms))

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


def books(engine: Engine, limits: RateLimits, at_ms: int) -> dict[str, Any]:
    """Return the exchange's own books: the same whatever the order in which requests of different symbols arrived."""
    return {
        "accounts": {name: account_books(engine, account, at_ms) for name, account in sorted(engine.accounts.items())},
        "limit_breaches": dict(sorted(limits.breaches.items())),
        "address_limit_breaches": limits.address_breaches,
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


def _json(values: dict[str, Any], *, status: int = 200) -> Response:
    return Response(orjson.dumps(values), status_code=status, media_type="application/json")
