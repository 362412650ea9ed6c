"""The exchange's time, from this machine's monotonic clock and answers of the exchange. It never goes backwards."""

from collections.abc import Callable

LARGEST_STEP_MS = 2_000.0
"""The exchange's time does not step against a monotonic clock; an answer that says so by more than this is doubted."""
CONFIRMATIONS = 3
"""Answers in a row that must agree on a step before it is believed, as after this machine was suspended."""


class VenueClock:
    """Tells the exchange's time between measurements; steps of this machine's wall clock do not matter."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        """`monotonic_s` returns seconds since some instant, and never less than before."""
        self._monotonic_s = monotonic_s
        self._offset_ms: float | None = None
        self._latest_ms = 0
        self._doubted_ms: list[float] = []

    def local_ms(self) -> float:
        """Return this machine's monotonic time in milliseconds; only differences mean anything."""
        return self._monotonic_s() * 1000

    def measured(self, *, sent_ms: float, received_ms: float, server_ms: int) -> bool:
        """Take in an answer: the exchange stated `server_ms` at some moment between sending and receiving.

        The offset is moved no further than the answer proves necessary, so a slow answer does no harm. A step is not
        believed until several answers agree on it: time that ran ahead once could never be taken back. Returns False
        while an answer is doubted; then measure again soon.

        Args:
            sent_ms: `local_ms` before the request was sent.
            received_ms: `local_ms` after the answer came.
            server_ms: The exchange's time, milliseconds since 1970-01-01T00:00Z.
        """
        least, most = server_ms - received_ms, server_ms - sent_ms
        if self._offset_ms is None:
            self._offset_ms = (least + most) / 2
            return True
        offset_ms = min(max(self._offset_ms, least), most)
        if abs(offset_ms - self._offset_ms) > LARGEST_STEP_MS:
            agreeing = [doubted for doubted in self._doubted_ms if abs(doubted - offset_ms) <= LARGEST_STEP_MS]
            self._doubted_ms = [*agreeing, offset_ms]
            if len(self._doubted_ms) < CONFIRMATIONS:
                return False
        self._doubted_ms.clear()
        self._offset_ms = offset_ms
        return True

    def now_ms(self) -> int:
        """Return the exchange's time, milliseconds since 1970-01-01T00:00Z; never less than before.

        Before the first measurement it is 0.
        """
        if self._offset_ms is not None:
            self._latest_ms = max(self._latest_ms, int(self.local_ms() + self._offset_ms))
        return self._latest_ms
