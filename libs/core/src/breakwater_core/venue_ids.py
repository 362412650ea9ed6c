"""Ids that the paper exchange gives and the tick backtest gives alike: each is derived from its cause.

They have the form of Bybit's own order and execution ids (UUIDs), and the same order has the same ids in every run.
"""

import uuid

_NAMESPACE = uuid.UUID("6f1d2c1e-6f0b-5e3e-9a3e-2f6d1b7c9a40")


def order_id_of(account: str, link_id: str, counter: int) -> str:
    """Return the id of an order: of the client's id if it gave one, else of the account's running number."""
    return str(uuid.uuid5(_NAMESPACE, f"{account}/{link_id}" if link_id else f"{account}/#{counter}"))


def exec_id_of(order_id: str, number: int) -> str:
    """Return the id of an order's fill number `number` (from 1)."""
    return str(uuid.uuid5(_NAMESPACE, f"{order_id}/{number}"))


def event_id_of(kind: str, account: str, symbol: str, position_index: int, time_ms: int) -> str:
    """Return the id of something that the exchange itself does to a position, e.g. funding."""
    return str(uuid.uuid5(_NAMESPACE, f"{kind}/{account}/{symbol}/{position_index}/{time_ms}"))
