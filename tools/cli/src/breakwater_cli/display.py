"""What a person sees while a replay runs: a progress bar, positions, and each finished day."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from breakwater_cli.completion import ProgressWatch

_REFRESH_S = 0.25


class ReplayDisplay:
    """Shows a run on standard error; asks the reporter's HTTP API for days and positions."""

    def __init__(self, *, watch: ProgressWatch, reporter_url: str, run_id: str, quiet: bool, positions: bool) -> None:
        """Show nothing when quiet; show the table of positions when asked to."""
        self._console = Console(stderr=True, quiet=quiet)
        self._watch = watch
        self._reporter_url = reporter_url
        self._run_id = run_id
        self._show_positions = positions
        self._quiet = quiet
        self._days_shown: set[tuple[str, str]] = set()
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[trades]:>12,} trades"),
            TextColumn("{task.fields[rate]:>10,.0f}/s"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("replay", total=1.0, trades=0, rate=0.0)
        self._started = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Keep the display up to date while the context is open."""
        if self._quiet:
            yield
            return
        async with httpx.AsyncClient(base_url=self._reporter_url, timeout=2, trust_env=False) as client:
            with Live(self._bar, console=self._console, refresh_per_second=8, transient=True) as live:
                task = asyncio.create_task(self._refresh(client, live))
                try:
                    yield
                finally:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    with suppress(httpx.HTTPError, KeyError, ValueError):
                        await self._print_days(client)

    async def _refresh(self, client: httpx.AsyncClient, live: Live) -> None:
        while True:
            self._advance_bar()
            with suppress(httpx.HTTPError, KeyError, ValueError):
                await self._print_days(client)
                if self._show_positions:
                    live.update(Group(self._bar, await self._positions(client)))
            await asyncio.sleep(_REFRESH_S)

    def _advance_bar(self) -> None:
        latest = self._watch.latest
        if latest is None:
            return
        elapsed = max(1e-6, asyncio.get_running_loop().time() - self._started)
        day = datetime.fromtimestamp(latest.now_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M")
        self._bar.update(
            self._task,
            completed=latest.share,
            description=day,
            trades=latest.trades_total,
            rate=latest.trades_total / elapsed,
        )

    async def _print_days(self, client: httpx.AsyncClient) -> None:
        for row in await _items(client, f"/runs/{self._run_id}/performance"):
            key = (row["day"], row["account"])
            if key not in self._days_shown:
                self._days_shown.add(key)
                self._console.print(day_line(row), highlight=False, soft_wrap=True)

    async def _positions(self, client: httpx.AsyncClient) -> Table:
        table = Table(title="positions", expand=False)
        for column in ("account", "symbol", "size", "average price"):
            table.add_column(column, justify="left" if column in {"account", "symbol"} else "right")
        for row in await _items(client, f"/runs/{self._run_id}/positions"):
            if Decimal(row["size"]):
                style = "green" if Decimal(row["size"]) > 0 else "red"
                table.add_row(row["account"], row["symbol"], row["size"], row["average_price"], style=style)
        return table


async def _items(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    answer = await client.get(path, params={"limit": 1000})
    answer.raise_for_status()
    values = answer.json()
    items: list[dict[str, Any]] = values["items"] if isinstance(values, dict) else values
    return items


def day_line(row: dict[str, Any]) -> str:
    """Return one finished day as a line: return, cumulative return and largest drawdown in percent."""
    day_return = (Decimal(row["ror"]) - 1) * 100
    cumulative = (Decimal(row["cumulative"]) - 1) * 100
    return (
        f"{row['day']} {row['account']} {day_return:+7.2f} %  cumulative {cumulative:+8.2f} %  "
        f"MDD {Decimal(row['mdd']) * 100:6.2f} %  equity {Decimal(row['equity']):,.2f}"
    )
