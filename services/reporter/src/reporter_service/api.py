"""The HTTP API: runs and what they hold, read-only, with its description at `/docs` and `/openapi.json`.

Health, readiness and metrics are answered on the same port.
"""

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from datetime import date
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from breakwater_runtime.errors import explain
from breakwater_runtime.health import Health, health_application
from reporter_service import api_models as models
from reporter_service import reading
from reporter_service.database import Database, DatabaseAwayError
from reporter_service.reading import Selection, UnknownRunError

HEALTH_PATHS = frozenset({"/health", "/ready", "/metrics"})
LARGEST_PAGE = 1000
FAULTS: dict[int | str, dict[str, Any]] = {
    404: {"model": models.Fault, "description": "No such run."},
    503: {"model": models.Fault, "description": "The database does not answer."},
}

Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Rows on a page.")]
Offset = Annotated[int, Query(ge=0, description="Rows before the page.")]
Account = Annotated[str | None, Query(description="Only this account.")]
Symbol = Annotated[str | None, Query(description="Only this symbol, e.g. `BTCUSDT`.")]
Day = Annotated[date | None, Query(description="Only this day of the session, e.g. `2023-07-04`.")]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]


def api_application(database: Database) -> FastAPI:
    """Return the API over a database."""
    api = FastAPI(
        title="Breakwater reporter",
        version="1",
        description="Runs, their orders, fills, positions and daily performance. Decimals are text; times are venue "
        "time in milliseconds since 1970-01-01T00:00Z and beside it in ISO 8601, unless said otherwise.",
    )

    def opened() -> Iterator[Session]:
        with database.reading() as session:
            yield session

    opened_session = Depends(opened)
    _add_faults(api)
    _add_runs(api, opened_session)
    _add_pages(api, opened_session)
    _add_parity(api, opened_session)
    return api


def reporter_application(database: Database, health: Health) -> Application:
    """Return the API together with health, readiness and metrics."""
    api = api_application(database)
    conditions = health_application(health)

    async def application(
        scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope.get("path") in HEALTH_PATHS:
            await conditions(scope, receive, send)
        else:
            await api(scope, receive, send)

    return application


def _add_faults(api: FastAPI) -> None:
    @api.exception_handler(UnknownRunError)
    def unknown_run(_request: Request, error: UnknownRunError) -> JSONResponse:
        return JSONResponse({"detail": explain(error)}, status_code=404)

    @api.exception_handler(DatabaseAwayError)
    def database_away(_request: Request, error: DatabaseAwayError) -> JSONResponse:
        return JSONResponse({"detail": explain(error)}, status_code=503, headers={"Retry-After": "2"})


def _add_runs(api: FastAPI, opened: Any) -> None:
    @api.get("/runs", responses={503: FAULTS[503]}, tags=["runs"])
    def runs(session: Session = opened, limit: Limit = 100, offset: Offset = 0) -> models.Page[models.Run]:
        """All runs, latest start first."""
        found = reading.read_runs(session, Selection(limit=limit, offset=offset))
        return models.Page(
            items=[models.Run.of(row) for row in found.rows], total=found.total, limit=limit, offset=offset
        )

    @api.get("/runs/{run_id}", responses=FAULTS, tags=["runs"])
    def run(run_id: str, session: Session = opened) -> models.RunDetail:
        """One run with its configuration and the number of its rows."""
        row = reading.find_run(session, run_id)
        return models.RunDetail(
            **models.Run.of(row).model_dump(),
            config=row.config,
            accounts=reading.accounts_of(session, run_id),
            **reading.count_rows(session, run_id),
        )

    @api.get("/runs/{run_id}/report", responses=FAULTS, tags=["runs"])
    def report(run_id: str, session: Session = opened) -> dict[str, Any]:
        """The whole report of a run, as in `report.json`."""
        return reading.report_of(session, run_id)


def _add_pages(api: FastAPI, opened: Any) -> None:
    def selected(
        account: Account = None, symbol: Symbol = None, day: Day = None, limit: Limit = 100, offset: Offset = 0
    ) -> Selection:
        return Selection(account, symbol, day, limit, offset)

    def of_account(account: Account = None, symbol: Symbol = None, limit: Limit = 100, offset: Offset = 0) -> Selection:
        return Selection(account, symbol, None, limit, offset)

    def of_day(account: Account = None, day: Day = None, limit: Limit = 100, offset: Offset = 0) -> Selection:
        return Selection(account, None, day, limit, offset)

    by_all, by_account, by_day = Depends(selected), Depends(of_account), Depends(of_day)

    def page[T](items: list[T], total: int, selection: Selection) -> models.Page[T]:
        return models.Page(items=items, total=total, limit=selection.limit, offset=selection.offset)

    @api.get("/runs/{run_id}/orders", responses=FAULTS, tags=["rows"])
    def orders(run_id: str, session: Session = opened, selection: Selection = by_all) -> models.Page[models.Order]:
        """Orders by the time of their trigger."""
        reading.find_run(session, run_id)
        found = reading.read_orders(session, run_id, selection)
        return page([models.Order.of(row) for row in found.rows], found.total, selection)

    @api.get("/runs/{run_id}/refused", responses=FAULTS, tags=["rows"])
    def refused(run_id: str, session: Session = opened, selection: Selection = by_all) -> models.Page[models.Refusal]:
        """Refused, expired and rejected decisions by the time of their trigger."""
        reading.find_run(session, run_id)
        found = reading.read_refusals(session, run_id, selection)
        return page([models.Refusal.of(row) for row in found.rows], found.total, selection)

    @api.get("/runs/{run_id}/fills", responses=FAULTS, tags=["rows"])
    def fills(run_id: str, session: Session = opened, selection: Selection = by_all) -> models.Page[models.Execution]:
        """Executions by time, funding included."""
        reading.find_run(session, run_id)
        found = reading.read_fills(session, run_id, selection)
        return page([models.Execution.of(row) for row in found.rows], found.total, selection)

    @api.get("/runs/{run_id}/positions", responses=FAULTS, tags=["rows"])
    def positions(
        run_id: str, session: Session = opened, selection: Selection = by_account
    ) -> models.Page[models.Position]:
        """What the fills add up to, beside what the exchange last stated."""
        reading.find_run(session, run_id)
        found = reading.read_positions(session, run_id, selection)
        stated = _stated_positions(session, run_id)
        items = [models.Position.of(row, stated.get((row.account, row.symbol))) for row in found.rows]
        return page(items, found.total, selection)

    @api.get("/runs/{run_id}/performance", responses=FAULTS, tags=["rows"])
    def performance(
        run_id: str, session: Session = opened, selection: Selection = by_day
    ) -> models.Page[models.Performance]:
        """Closed days by day and account."""
        reading.find_run(session, run_id)
        found = reading.read_performance(session, run_id, selection)
        return page([models.Performance.of(row) for row in found.rows], found.total, selection)


def _add_parity(api: FastAPI, opened: Any) -> None:
    @api.get("/runs/{run_id}/parity", responses=FAULTS, tags=["rows"])
    def parity(
        run_id: str,
        session: Session = opened,
        account: Account = None,
        day: Day = None,
        limit: Limit = 100,
        offset: Offset = 0,
    ) -> models.Page[models.Parity]:
        """Closed days beside the backtests of their recordings, by day and account."""
        reading.find_run(session, run_id)
        found = reading.read_parity(session, run_id, Selection(account, None, day, limit, offset))
        items = [models.Parity.of(row) for row in found.rows]
        return models.Page(items=items, total=found.total, limit=limit, offset=offset)


def _stated_positions(session: Session, run_id: str) -> dict[tuple[str, str], models.StatedPosition]:
    return {
        (account, position["symbol"]): models.StatedPosition(
            **{name: position[name] for name in ("size", "average_price", "mark_price", "unrealised_pnl")},
            stated_at_ms=row.event_time_ms,
            stated_at=models.instant(row.event_time_ms),
        )
        for account, row in reading.latest_snapshots(session, run_id).items()
        for position in row.positions
    }
