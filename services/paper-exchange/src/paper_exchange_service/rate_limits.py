"""Bybit's request limits: a rolling second per account and endpoint, and 600 requests in 5 seconds per address."""

from collections import deque
from dataclasses import dataclass

_SECOND_MS = 1000
_IP_REQUESTS = 600
_IP_WINDOW_MS = 5000


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the limit says to a request.

    Attributes:
        limit: Requests per second.
        granted: How many of the items asked for pass.
        left: How many more would pass now.
        reset_ms: When the next one passes.
    """

    limit: int
    granted: int
    left: int
    reset_ms: int

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The three headers of every private answer."""
        return (
            (b"x-bapi-limit", b"%d" % self.limit),
            (b"x-bapi-limit-status", b"%d" % self.left),
            (b"x-bapi-limit-reset-timestamp", b"%d" % self.reset_ms),
        )


class RateLimits:
    """Counts requests; breaches are counted even where limits are not enforced."""

    def __init__(self, *, enforced: bool, ban_ms: int = 600_000, factor: int = 1) -> None:
        """Start with nothing counted.

        Args:
            enforced: Whether exceeding a limit has consequences.
            ban_ms: How long an address is refused after exceeding its limit.
            factor: Multiplies the limits of orders, as a VIP tier does.
        """
        self.enforced = enforced
        self.breaches: dict[str, int] = {}
        self.address_breaches = 0
        self._ban_ms = ban_ms
        self._factor = factor
        self._taken: dict[tuple[int, str], deque[int]] = {}
        self._by_address: dict[str, deque[int]] = {}
        self._banned_until: dict[str, int] = {}

    def take(self, uid: int, group: str, limit: int, count: int, now_ms: int) -> Allowance:
        """Count `count` items of an account against an endpoint's limit; those beyond it are not granted."""
        if group.startswith("order/") and limit == 10:
            limit *= self._factor
        taken = self._taken.setdefault((uid, group), deque())
        while taken and taken[0] <= now_ms - _SECOND_MS:
            taken.popleft()
        granted = max(0, min(count, limit - len(taken)))
        if granted < count:
            self.breaches[group] = self.breaches.get(group, 0) + count - granted
        if not self.enforced:
            granted = count
        taken.extend([now_ms] * min(granted, limit - len(taken)))
        reset_ms = taken[0] + _SECOND_MS if granted < count and taken else now_ms
        return Allowance(limit, granted, max(0, limit - len(taken)), reset_ms)

    def admit(self, address: str, now_ms: int) -> bool:
        """Count a request of an address; False: it is refused with HTTP 403."""
        if now_ms < self._banned_until.get(address, 0):
            return not self.enforced
        window = self._by_address.setdefault(address, deque())
        while window and window[0] <= now_ms - _IP_WINDOW_MS:
            window.popleft()
        if len(window) >= _IP_REQUESTS:
            self.address_breaches += 1
            if self.enforced:
                self._banned_until[address] = now_ms + self._ban_ms
                return False
            window.popleft()
        window.append(now_ms)
        return True
