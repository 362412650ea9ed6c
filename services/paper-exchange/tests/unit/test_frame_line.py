"""The line of frames to a connection: late, twice or out of order, but complete."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from paper_exchange_service.faults import PLAIN, Fate
from paper_exchange_service.frame_line import FrameLine


class Socket:
    """Takes frames and tells when there are enough."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._changed = asyncio.Event()

    def send(self, frame: dict[str, Any]) -> None:
        self.numbers.append(frame["n"])
        self._changed.set()

    async def until(self, count: int) -> list[int]:
        async with asyncio.timeout(5):
            while len(self.numbers) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.numbers


async def sent(*fates: Fate) -> list[int]:
    socket = Socket()
    line = FrameLine(socket.send)
    for number, fate in enumerate(fates):
        line.push({"n": number}, fate)
    return await socket.until(sum(fate.copies for fate in fates))


async def test_a_plain_frame_leaves_at_once() -> None:
    socket = Socket()
    FrameLine(socket.send).push({"n": 0}, PLAIN)
    assert socket.numbers == [0]


async def test_a_late_frame_holds_up_those_behind_it() -> None:
    assert await sent(PLAIN, Fate(delay_s=0.02), PLAIN, PLAIN) == [0, 1, 2, 3]


async def test_a_held_frame_lets_the_next_one_pass_or_goes_alone_after_its_time() -> None:
    assert await sent(Fate(held_s=5), PLAIN, PLAIN) == [1, 0, 2]
    assert await sent(Fate(held_s=0.01)) == [0]


async def test_a_doubled_frame_comes_twice_in_a_row() -> None:
    assert await sent(Fate(copies=2), PLAIN) == [0, 0, 1]


async def test_a_closed_line_sends_nothing_more() -> None:
    socket = Socket()
    line = FrameLine(socket.send)
    line.push({"n": 0}, Fate(delay_s=0.005))
    line.push({"n": 1}, Fate(held_s=0.005))
    line.close()
    other = FrameLine(socket.send)
    other.push({"n": 2}, Fate(delay_s=0.01))
    assert await socket.until(1) == [2]


FATES = st.builds(
    Fate,
    copies=st.integers(1, 3),
    delay_s=st.sampled_from([0.0, 0.001, 0.003]),
    held_s=st.sampled_from([None, None, 0.002]),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(FATES, max_size=12))
def test_no_frame_is_lost_and_none_invented(fates: list[Fate]) -> None:
    numbers = asyncio.run(sent(*fates))
    assert sorted(numbers) == [number for number, fate in enumerate(fates) for _ in range(fate.copies)]
