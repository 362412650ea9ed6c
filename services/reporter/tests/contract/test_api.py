"""The HTTP API as its readers see it: pages, filters, text for decimals, faults with a reason."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from breakwater_core.decimals import from_text
from breakwater_runtime.health import Health
from reporter_service.api import api_application, reporter_application
from reporter_service.database import Database
from reporter_service.reading import UnknownRunError, load_report


def client_of(database: Database, health: Health | None = None) -> httpx.AsyncClient:
    application: Any = reporter_application(database, health or Health())
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://reporter")


@pytest.fixture(scope="module")
def told_url(new_migrated_url: Callable[[], str], story: Any, open_desk: Any) -> str:
    """A database that has heard the whole story, for all tests that only read."""
    url = new_migrated_url()

    async def tell(database: Database) -> None:
        async with open_desk(database) as desk:
            await desk.take_all(story().tell().events)

    told = Database(url)
    asyncio.run(tell(told))
    told.close()
    return url


@pytest.fixture(scope="module")
def application(told_url: str) -> Iterator[Any]:
    database = Database(told_url)
    yield reporter_application(database, Health())
    database.close()


@pytest.fixture
async def client(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://reporter") as opened:
        yield opened


async def test_runs_are_listed_and_shown_with_their_configuration(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/runs")).json()
    assert (listed["total"], listed["items"][0]["run_id"], listed["items"][0]["state"]) == (1, "replay-1", "ended")
    shown = (await client.get("/runs/replay-1")).json()
    assert shown["config"]["portfolio"]["gross_leverage"] == "2.0"
    assert shown["accounts"] == ["main", "second"]
    assert (shown["orders"], shown["fills"], shown["intents"], shown["alerts"]) == (12, 24, 30, 1)
    assert (shown["started_at_ms"], shown["started_at"]) == (1000, "1970-01-01T00:00:01Z")


async def test_orders_carry_decimals_as_text_and_times_twice(client: httpx.AsyncClient) -> None:
    page = (await client.get("/runs/replay-1/orders", params={"limit": 1})).json()
    assert (page["total"], page["limit"], page["offset"], len(page["items"])) == (12, 1, 0, 1)
    order = page["items"][0]
    assert (order["average_price"], order["slippage_bps"], order["quantity"]) == ("30001.1", "0.3667", "0.3")
    assert order["strategy_version"] == order["intent_id"].split("/")[2]
    assert (order["trigger_time_ms"], order["trigger_time"]) == (1_688_464_800_000, "2023-07-04T10:00:00Z")


async def test_pages_follow_one_another_without_gap_or_repetition(client: httpx.AsyncClient) -> None:
    whole = (await client.get("/runs/replay-1/fills", params={"limit": 1000})).json()["items"]
    pages = [
        (await client.get("/runs/replay-1/fills", params={"limit": 7, "offset": offset})).json()["items"]
        for offset in range(0, 28, 7)
    ]
    assert [fill for page in pages for fill in page] == whole
    assert len({fill["exec_id"] for fill in whole}) == 24


@pytest.mark.parametrize(
    ("path", "filters", "total"),
    [
        ("orders", {"account": "main"}, 6),
        ("orders", {"account": "main", "day": "2023-07-05"}, 2),
        ("orders", {"symbol": "ETHUSDT"}, 0),
        ("fills", {"day": "2023-07-04"}, 8),
        ("fills", {"account": "second", "symbol": "BTCUSDT", "day": "2023-07-06"}, 4),
        ("refused", {}, 12),
        ("refused", {"symbol": "SOLUSDT", "day": "2023-07-04"}, 2),
        ("performance", {}, 6),
        ("performance", {"account": "main", "day": "2023-07-04"}, 1),
        ("positions", {}, 2),
        ("positions", {"account": "main"}, 1),
    ],
)
async def test_rows_are_narrowed_by_account_symbol_and_day(
    client: httpx.AsyncClient, path: str, filters: dict[str, str], total: int
) -> None:
    page = (await client.get(f"/runs/replay-1/{path}", params=filters)).json()
    assert (page["total"], len(page["items"])) == (total, total)


async def test_refusals_say_why(client: httpx.AsyncClient) -> None:
    found = (await client.get("/runs/replay-1/refused", params={"symbol": "ETHUSDT"})).json()["items"][0]
    assert (found["status"], found["reason"], found["detail"]) == (
        "refused",
        "below_min_quantity",
        "0.0004 is below 0.01",
    )


async def test_positions_show_the_sum_of_fills_beside_the_exchanges_statement(
    database: Database, story: Any, open_desk: Any
) -> None:
    events = story(accounts=("main",), days=1).tell().events
    cut = next(number for number, event in enumerate(events) if getattr(event, "positions", ()))
    async with open_desk(database) as desk:
        await desk.take_all(events[: cut + 1])
    async with client_of(database) as client:
        [position] = (await client.get("/runs/replay-1/positions")).json()["items"]
    assert (position["size"], position["funding"], position["fills"]) == ("0.3", "-0.123456789", 3)
    assert (position["exchange"]["size"], position["exchange"]["unrealised_pnl"]) == ("0.3", "1.5")


async def test_performance_rows_are_those_of_the_report(client: httpx.AsyncClient) -> None:
    rows = (await client.get("/runs/replay-1/performance")).json()["items"]
    days = (await client.get("/runs/replay-1/report")).json()["days"]
    names = ("day", "account", "equity", "ror", "cumulative", "drawdown", "mdd")
    assert [[row[name] for name in names] for row in rows] == [[day[name] for name in names] for day in days]


async def test_report_over_http_is_the_report_of_the_loader(client: httpx.AsyncClient, told_url: str) -> None:
    report = (await client.get("/runs/replay-1/report")).json()
    assert report == load_report(told_url, "replay-1")
    assert report["counters"] == {
        "trades": 3000,
        "intents": 30,
        "orders": 12,
        "fills": 24,
        "wall_seconds": 60.0,
        "trades_per_second": 50.0,
    }
    assert len(report["refused"]) == 12
    assert sum(from_text(fill["fee"]) for fill in report["fills"] if fill["kind"] == "funding") < 0
    assert load_report(told_url, "replay-1", wall_seconds=2)["counters"]["trades_per_second"] == 1500.0


@pytest.mark.parametrize("path", ["", "/orders", "/fills", "/positions", "/performance", "/refused", "/report"])
async def test_an_unknown_run_is_404_and_names_the_known_ones(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/runs/absent{path}")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no run 'absent' in the database; the latest are: replay-1"


async def test_the_loader_names_the_known_runs_too(migrated_url: str) -> None:
    with pytest.raises(UnknownRunError, match="none yet"):
        load_report(migrated_url, "absent")


@pytest.mark.parametrize("filters", [{"limit": 0}, {"limit": 1001}, {"offset": -1}, {"day": "yesterday"}])
async def test_absurd_paging_and_filters_are_422(client: httpx.AsyncClient, filters: dict[str, Any]) -> None:
    assert (await client.get("/runs/replay-1/orders", params=filters)).status_code == 422


async def test_nothing_can_be_written(client: httpx.AsyncClient) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await client.request(method, "/runs/replay-1")).status_code == 405


async def test_openapi_describes_every_path_with_its_faults(tmp_path: Path) -> None:
    described = api_application(Database(f"sqlite:///{tmp_path}/never-opened.db")).openapi()
    pages = {
        f"/runs/{{run_id}}/{name}" for name in ("orders", "fills", "positions", "performance", "parity", "refused")
    }
    assert set(described["paths"]) == {"/runs", "/runs/{run_id}", "/runs/{run_id}/report", *pages}
    for path in pages:
        assert {"200", "404", "503"} <= set(described["paths"][path]["get"]["responses"])
    price = described["components"]["schemas"]["Order"]["properties"]["target_price"]
    assert (price["type"], price["format"]) == ("string", "decimal")


async def test_health_readiness_and_metrics_share_the_port(tmp_path: Path) -> None:
    database, health = Database(f"sqlite:///{tmp_path}/never-opened.db"), Health("database")
    async with client_of(database, health) as client:
        assert (await client.get("/health")).json() == {"alive": True}
        assert (await client.get("/ready")).status_code == 503
        health.hold("database")
        assert (await client.get("/ready")).status_code == 200
        assert "breakwater_fills_total" in (await client.get("/metrics")).text


async def test_a_database_that_is_away_is_503_with_its_reason() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/absent")
    async with client_of(database) as client:
        answer = await client.get("/runs")
    assert answer.status_code == 503
    assert "does not answer" in answer.json()["detail"]
