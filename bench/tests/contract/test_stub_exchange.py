"""The stub speaks to the production client, and stamps what it receives."""

import time
from decimal import Decimal

import pytest

from bench.processes import helper
from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import Rejected
from breakwater_core.events import OrderStatus, Side
from executor_service.preflight import Preflight


async def test_the_production_client_passes_its_checks_places_an_order_and_finds_it_filled() -> None:
    async with helper("stub_exchange", {"symbols": ["AUSDT", "BUSDT"], "order_delay_s": 0.03}) as stub:
        url = f"http://127.0.0.1:{(await stub.answer())['port']}"
        async with BybitClient(url, api_key="key", api_secret="secret") as client:
            await Preflight("main", ("AUSDT",), leverage=Decimal(10), max_clock_skew_ms=1000).run(client)
            rules = await client.instruments(["BUSDT", "AUSDT"])
            before_ns = time.time_ns()
            await client.place_market_order(
                symbol="AUSDT", side=Side.BUY, quantity=Decimal("1.5"), order_link_id="bw-1", reduce_only=False
            )
            after_ns = time.time_ns()
            order = await client.find_order("AUSDT", "bw-1")
            with pytest.raises(Rejected):
                await client.fee_rate("AUSDT")
        seen = await stub.ask("orders")
    assert rules["BUSDT"].quantity_step == Decimal("0.001")
    assert order is not None
    assert order.status is OrderStatus.FILLED
    assert order.filled_quantity == Decimal("1.5")
    [(link_id, symbol, arrived_ns, answered_ns)] = seen["orders"]
    assert (link_id, symbol, seen["repeats"]) == ("bw-1", "AUSDT", 0)
    assert before_ns < arrived_ns < answered_ns < after_ns
    assert answered_ns - arrived_ns >= 29_000_000
