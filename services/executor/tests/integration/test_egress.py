"""The egress address against a real echo service, bus and paper exchange: entries stop and go on, exits go through."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from breakwater_budget.shared import shared_budget
from breakwater_bybit.budget import Priority
from breakwater_cli.nats_process import free_port
from breakwater_core.events import AccountSnapshot, Alert, Leg, OrderEvent, OrderStatus, SnapshotKind
from executor_service.egress import address_seen_by
from executor_service.settings import BudgetMode
from executor_service.venue_clock import ClockMode, wall_clock_ms
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.faults import Fault
from paper_exchange_service.playback import play_synthetic
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings

OURS, FOREIGN, LOOPBACK = "203.0.113.7", "198.51.100.9", "127.0.0.1"


@dataclass
class Echo:
    """What the echo service answers now; empty: a failure."""

    url: str = ""
    body: str = OURS

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status = "200 OK" if self.body else "503 Service Unavailable"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n\r\n".encode())
        writer.write(self.body.encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    async with await asyncio.start_server(echo.answer, LOOPBACK, 0) as server:
        echo.url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/"
        yield echo


@pytest.fixture
async def exchange(faults: Any) -> AsyncIterator[PaperExchange]:
    playback = play_synthetic(
        seed=1, symbols=("BTCUSDT",), trades_per_day=20_000, history_days=1, now_ms=wall_clock_ms()
    )
    account = AccountSettings(
        name="main",
        key="test-key",
        secret=SecretStr("test-secret"),
        usdt=Decimal(100_000),
        ips=(LOOPBACK, OURS),
    )
    options = Options(accounts=(account,), costs=Costs(slippage_ratio=Decimal(0), latency_ms=5), faults=faults)
    async with PaperExchange(options, playback) as exchange:
        yield exchange


@dataclass
class Station:
    """An executor under watch: decides in signal's name, and asks whether it is ready."""

    roles: SimpleNamespace
    exchange: PaperExchange
    desk: Any
    log: Any
    kit: SimpleNamespace
    echo: Echo
    port: int
    attempt: int = 0

    def order(self, **changes: Any) -> Any:
        values: dict[str, Any] = {
            "clock": ClockMode.WALL,
            "preflight_retry_s": 0.1,
            "egress_echo_url": self.echo.url,
            "egress_expected_ips": (OURS,),
            "egress_check_seconds": 0.1,
            "http_port": self.port,
        }
        return self.roles.order(**values | changes)

    def closing(self) -> list[OrderEvent]:
        return [event for event in self.log.of(OrderEvent) if event.intent_closed]

    async def decide(self, leg: Leg = Leg.ENTRY) -> OrderEvent:
        self.attempt += 1
        now_ms, told = wall_clock_ms(), len(self.closing())
        price = self.exchange.engine.market("BTCUSDT").last_at(now_ms)
        await self.desk.decide(
            self.kit.intent(
                leg,
                day=self.roles.SESSION.day_of(now_ms),
                attempt=self.attempt,
                trigger_time_ms=now_ms,
                valid_until_ms=None if leg.reduces else now_ms + 15_000,
                trigger_price=price,
                target_price=price,
            )
        )
        await self.log.until(lambda _log: len(self.closing()) == told + 1)
        return self.closing()[-1]

    async def until_ready(self, wanted: bool, *, because: str = "") -> None:
        async with asyncio.timeout(90), httpx.AsyncClient() as client:
            while True:
                try:
                    answer = (await client.get(f"http://{LOOPBACK}:{self.port}/ready")).json()
                except httpx.HTTPError:
                    answer = {"ready": None}
                if answer["ready"] is wanted and (wanted or because in answer["faults"].get("egress", "")):
                    return
                await asyncio.sleep(0.02)

    def bind_key(self, *ips: str) -> None:
        account = self.exchange.engine.accounts["main"]
        account.credentials = replace(account.credentials, ips=ips)

    def held(self) -> Decimal:
        return self.exchange.engine.accounts["main"].position("BTCUSDT", 0).size

    def orders(self) -> int:
        return len(self.exchange.engine.accounts["main"].orders)

    def alerts(self) -> list[str]:
        return [alert.name for alert in self.log.of(Alert)]


@pytest.fixture
async def station(
    roles: SimpleNamespace, exchange: PaperExchange, desk: Any, log: Any, kit: SimpleNamespace, echo: Echo
) -> AsyncIterator[Station]:
    async with roles.account(clock=ClockMode.WALL):
        await log.until(lambda log: any(s.kind is SnapshotKind.DAY_OPEN for s in log.of(AccountSnapshot)))
        yield Station(roles, exchange, desk, log, kit, echo, free_port())


def refusal(event: OrderEvent) -> tuple[OrderStatus, str]:
    return event.status, event.reason


@pytest.mark.parametrize("body", [FOREIGN, json.dumps({"ip": FOREIGN, "city": "Elsewhere"})], ids=["plain", "json"])
async def test_a_route_that_changes_stops_entries_but_no_exit_until_it_is_mended(station: Station, body: str) -> None:
    async with station.order():
        await station.until_ready(True)
        assert (await station.decide()).status is OrderStatus.FILLED
        assert station.held() != 0
        station.echo.body = body
        await station.until_ready(False, because=FOREIGN)
        assert refusal(await station.decide()) == (OrderStatus.REFUSED, "egress_mismatch")
        assert (await station.decide(Leg.EXIT)).status is OrderStatus.FILLED
        assert station.held() == 0
        station.echo.body = json.dumps({"ip": OURS})
        await station.until_ready(True)
        assert (await station.decide()).status is OrderStatus.FILLED
    assert station.orders() == 3  # entry, exit, entry: what was refused never reached the exchange
    assert len({event.intent_id for event in station.closing()}) == len(station.closing()) == 4
    assert station.alerts() == ["egress_mismatch"]


async def test_an_address_that_was_never_known_enters_nothing_and_one_that_was_stays_known(station: Station) -> None:
    station.echo.body = ""

    def unknown_checks() -> float:
        labels = {"account": "main", "outcome": "unknown"}
        return REGISTRY.get_sample_value("breakwater_egress_checks_total", labels) or 0.0

    async with station.order():
        await station.until_ready(False, because="not known: the address")
        assert refusal(await station.decide()) == (OrderStatus.REFUSED, "egress_unknown")
        station.echo.body = OURS
        await station.until_ready(True)
        station.echo.body, before = "", unknown_checks()
        async with asyncio.timeout(90):
            while unknown_checks() < before + 3:
                await asyncio.sleep(0.02)
        assert (await station.decide()).status is OrderStatus.FILLED
        await station.until_ready(True)
    assert station.alerts() == ["egress_unknown"]


async def test_a_match_that_nothing_confirms_any_more_is_not_trusted_for_ever(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor_service.egress_guard.TRUST_S", 1.0)
    async with station.order():
        await station.until_ready(True)
        station.echo.body = "<html>log in to this network</html>"
        await station.until_ready(False, because="not known: the address")
        assert refusal(await station.decide()) == (OrderStatus.REFUSED, "egress_unknown")
        station.echo.body = OURS
        await station.until_ready(True)
    assert station.orders() == 0


async def test_what_is_not_known_is_told_once_however_the_reason_reads(
    station: Station, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange refuses the address for a while: the reason counts the seconds that are left."""
    monkeypatch.setattr("executor_service.egress_guard.TRUST_S", 0.5)
    async with station.order(budget=BudgetMode.PROCESS, ban_s=4):
        await station.until_ready(True)
        faults.script["user/query-api"] = [Fault(before=(403, b""))]
        await station.until_ready(False, because="another 3 s")
        await station.until_ready(False, because="another 2 s")
        await station.until_ready(True)
    assert station.alerts() == ["egress_unknown"]


async def test_a_key_that_is_bound_to_expected_addresses_alone_needs_no_echo_service(station: Station) -> None:
    station.echo.body = ""
    station.bind_key(LOOPBACK)
    async with station.order(egress_expected_ips=(LOOPBACK,)):
        await station.until_ready(True)
        assert (await station.decide()).status is OrderStatus.FILLED
        station.bind_key()
        await station.until_ready(False, because="bound to no address")
        assert refusal(await station.decide()) == (OrderStatus.REFUSED, "egress_mismatch")
        assert (await station.decide(Leg.EXIT)).status is OrderStatus.FILLED
    assert station.held() == 0


async def test_the_echo_service_is_asked_through_the_proxy_of_the_exchange(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees requests off to elsewhere: the echo service must see what the exchange sees."""
    proxy = Echo(body=FOREIGN)
    async with await asyncio.start_server(proxy.answer, LOOPBACK, 0) as server:
        monkeypatch.setenv("http_proxy", f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        assert await address_seen_by(station.echo.url, exchange_url="http://exchange.test") == FOREIGN
        monkeypatch.setenv("no_proxy", "exchange.test")
        assert await address_seen_by(station.echo.url, exchange_url="http://exchange.test") == OURS


async def test_the_account_role_is_not_ready_and_tells_of_a_route_that_changes(station: Station) -> None:
    async with station.roles.account(
        clock=ClockMode.WALL,
        egress_echo_url=station.echo.url,
        egress_expected_ips=(OURS,),
        egress_check_seconds=0.1,
        http_port=station.port,
    ):
        await station.until_ready(True)
        station.echo.body = FOREIGN
        await station.until_ready(False, because=FOREIGN)
        await station.log.until(lambda _log: station.alerts() == ["egress_mismatch"])
        station.echo.body = OURS
        await station.until_ready(True)


async def test_a_process_on_a_foreign_address_does_not_stop_the_requests_of_the_others(
    station: Station, faults: Any
) -> None:
    """The exchange refuses the foreign address (403): that is no ban of the address that the others have."""
    async with station.order(budget=BudgetMode.SHARED):
        await station.until_ready(True)
        assert (await station.decide()).status is OrderStatus.FILLED
        station.echo.body = FOREIGN
        await station.until_ready(False, because=FOREIGN)
        refused = [Fault(before=(403, b""))]
        faults.script["user/query-api"] = refused
        async with asyncio.timeout(90):
            while refused:
                await asyncio.sleep(0.02)
        async with (
            shared_budget(
                station.desk.bus, service="test", instance="other", exchange_url=station.exchange.rest_url
            ) as others,
            asyncio.timeout(90),
            others.take("order/create", "main", Priority.EXIT),
        ):
            pass
    assert "address_banned" not in station.alerts()


async def test_a_stop_does_not_wait_for_an_echo_service_that_trickles(
    nats_url: str, exchange: PaperExchange, roles: SimpleNamespace
) -> None:
    asked = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        with suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n")
            while not reader.at_eof():
                writer.write(b"1")
                await writer.drain()
                await asyncio.sleep(0.2)

    async with await asyncio.start_server(trickle, LOOPBACK, 0) as server:
        url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/"
        started = await order_process(nats_url, exchange, roles, BREAKWATER_EGRESS_ECHO_URL=url)
        try:
            await asyncio.wait_for(asked.wait(), 60)
            started.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(started.wait(), 40) == 0
        finally:
            with suppress(ProcessLookupError):
                started.kill()
            await started.wait()


async def test_a_key_whose_list_lacks_the_expected_address_enters_nothing(station: Station) -> None:
    station.bind_key(LOOPBACK)
    async with station.order():
        await station.until_ready(False, because=f"lacks {OURS}")
        assert refusal(await station.decide()) == (OrderStatus.REFUSED, "egress_mismatch")
        station.bind_key(LOOPBACK, OURS)
        await station.until_ready(True)
        assert (await station.decide()).status is OrderStatus.FILLED
    assert station.orders() == 1


async def test_an_address_that_the_exchange_refuses_does_not_end_the_process(station: Station) -> None:
    station.bind_key("10.1.2.3")
    async with station.order():
        await station.until_ready(False, because="the exchange refuses the address")
        assert refusal(await station.decide()) == (OrderStatus.REFUSED, "egress_mismatch")
        station.bind_key(LOOPBACK, OURS)
        await station.until_ready(True)
        assert (await station.decide()).status is OrderStatus.FILLED


async def order_process(
    nats_url: str, exchange: PaperExchange, roles: SimpleNamespace, **changes: str
) -> asyncio.subprocess.Process:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("EXECUTOR_", "BREAKWATER_"))
    }
    environment |= {
        "EXECUTOR_NATS_URL": nats_url,
        "EXECUTOR_RUN_ID": roles.RUN_ID,
        "EXECUTOR_ACCOUNTS": roles.ACCOUNTS,
        "EXECUTOR_EXCHANGE_URL": exchange.rest_url,
        "EXECUTOR_PRIVATE_STREAM_URL": exchange.stream_url,
        "EXECUTOR_PREFLIGHT_RETRY_S": "0.2",
        "BREAKWATER_EGRESS_EXPECTED_IPS": f"{OURS}, 2001:db8::/64",
        "BREAKWATER_EGRESS_CHECK_SECONDS": "0.2",
    }
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "executor_service", env=environment | changes)


async def test_the_process_reads_the_installations_names(
    echo: Echo, nats_url: str, exchange: PaperExchange, roles: SimpleNamespace
) -> None:
    echo.body, port = FOREIGN, free_port()
    started = await order_process(
        nats_url, exchange, roles, BREAKWATER_EGRESS_ECHO_URL=echo.url, EXECUTOR_HTTP_PORT=str(port)
    )

    async def until(*words: str) -> None:
        async with asyncio.timeout(60), httpx.AsyncClient() as client:
            while True:
                try:
                    text = (await client.get(f"http://{LOOPBACK}:{port}/ready")).text
                    text += (await client.get(f"http://{LOOPBACK}:{port}/metrics")).text
                except httpx.HTTPError:
                    text = ""
                if all(word in text for word in words):
                    return
                await asyncio.sleep(0.05)

    matched = f'breakwater_egress_matched{{account="main",run="{roles.RUN_ID}"}}'
    try:
        await until(f"leave from {FOREIGN}", f"{matched} 0.0")
        account = exchange.engine.accounts["main"]
        account.credentials = replace(account.credentials, ips=(LOOPBACK, OURS, "2001:db8::5"))
        echo.body = OURS
        await until(f"{matched} 1.0")
    finally:
        started.kill()
        await started.wait()
