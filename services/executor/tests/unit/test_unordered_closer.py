"""Closing what nobody ordered: exactly one order, wherever a process dies and however many there are."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from breakwater_bybit import errors
from breakwater_core.events import OrderStatus, Side
from executor_service import unordered_closer
from executor_service.unordered_closer import Surplus, UnorderedCloser

SETTLE_MS = 7000
LARGEST = Decimal("0.25")


class Killed(BaseException):
    """The process died; nothing in it may catch this."""


@dataclass
class World:
    """A bucket, and an exchange whose orders show and fill some time after they were taken; each step may kill."""

    killed_at: int = 0
    steps: int = 0
    now_ms: int = 1_000_000
    size: Decimal = Decimal("0.4")
    entries: dict[str, bytes] = field(default_factory=dict)
    orders: dict[str, tuple[Side, Decimal, int]] = field(default_factory=dict)
    refused: int = 0
    run_id: str = "run"

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.killed_at:
            raise Killed

    async def read(self, _bucket: str, key: str) -> bytes | None:
        return self.entries.get(key)

    async def write(self, _bucket: str, key: str, value: bytes) -> int:
        self.step()
        self.entries[key] = value
        self.step()
        return 1

    async def instrument(self, _symbol: str) -> SimpleNamespace:
        return SimpleNamespace(
            max_market_quantity=LARGEST, min_quantity=Decimal("0.001"), quantity_step=Decimal("0.001")
        )

    async def find_order(self, *, order_link_id: str, **_: Any) -> SimpleNamespace | None:
        if order_link_id not in self.orders or self.now_ms < self.orders[order_link_id][2]:
            return None
        return SimpleNamespace(is_final=True, status=OrderStatus.FILLED)

    async def place_market_order(
        self, *, side: Side, quantity: Decimal, order_link_id: str, reduce_only: bool, **_: Any
    ) -> None:
        self.step()
        assert reduce_only
        if order_link_id in self.orders:
            self.refused += 1
            raise errors.DuplicateOrderLinkId("sent before", ret_code=110072)
        self.orders[order_link_id] = (side, quantity, self.now_ms + 3000)
        self.step()

    def pass_time(self, milliseconds: int) -> None:
        before_ms, self.now_ms = self.now_ms, self.now_ms + milliseconds
        for side, quantity, shows_ms in self.orders.values():
            if before_ms < shows_ms <= self.now_ms:
                self.size += quantity * side.sign

    async def unchanged(self, surplus: Surplus) -> bool:
        return self.size == surplus.quantity

    async def process(self) -> None:
        """Compare once, as a process that has just started does."""
        closer = UnorderedCloser(bus=self, account="main", exchange=self, settle_s=SETTLE_MS / 1000)  # type: ignore[arg-type]  # stands for the bus
        if self.size:
            await closer.close(Surplus("BTCUSDT", self.size, "exec-1"), still_so=self.unchanged)


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def make(killed_at: int) -> World:
        world = World(killed_at)
        monkeypatch.setattr(unordered_closer, "wall_clock_ms", lambda: world.now_ms)
        return world

    return make


@pytest.mark.parametrize("pause_ms", [100, 1000, SETTLE_MS])
@pytest.mark.parametrize("killed_at", range(9))
async def test_whoever_dies_wherever_each_part_is_closed_by_one_order(
    clocked: Any, killed_at: int, pause_ms: int
) -> None:
    world = clocked(killed_at)
    for _ in range(300):
        try:
            await world.process()
        except Killed:
            world.killed_at = 0
        world.pass_time(pause_ms)
        if not world.size:
            break
    world.pass_time(10 * SETTLE_MS)
    assert world.size == 0
    assert [(side, quantity) for side, quantity, _ in world.orders.values()] == [
        (Side.SELL, LARGEST),
        (Side.SELL, Decimal("0.15")),
    ]
    assert world.refused == 0


async def test_two_processes_at_once_send_one_id(clocked: Any) -> None:
    world = clocked(0)
    world.size = Decimal("0.2")
    await world.process()
    world.entries.clear()  # the other one had not seen the entry
    await world.process()
    assert (len(world.orders), world.refused) == (1, 1)
    world.pass_time(SETTLE_MS)
    assert world.size == 0


async def test_an_order_is_written_down_before_it_is_sent_and_not_at_all_if_things_have_changed(clocked: Any) -> None:
    world = clocked(3)  # dies as it begins to send
    with pytest.raises(Killed):
        await world.process()
    (entry,) = world.entries.values()
    assert json.loads(entry)["quantity"] == "0.25"
    assert not world.orders
    changed = clocked(0)
    stale = Surplus("BTCUSDT", Decimal("0.9"), "exec-1")
    closer = UnorderedCloser(bus=changed, account="main", exchange=changed, settle_s=7.0)
    await closer.close(stale, still_so=changed.unchanged)
    assert not changed.entries
    assert not changed.orders
