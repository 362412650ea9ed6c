"""Bybit's request limits: a rolling second per account and endpoint, and 600 requests in 5 seconds per address."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


class RequestMeter:
    """The most requests that were seen within a window of time, whether they passed or not."""

    def __init__(self, limit: int, window_ms: int) -> None:
        self.limit = limit
        self._window_ms = window_ms
        self._times: deque[int] = deque()
        self._total = 0
        self._first_ms = 0
        self._peak = 0
        self._peak_first_ms = 0
        self._peak_last_ms = 0

    def note(self, now_ms: int, count: int = 1) -> None:
        """Count requests."""
        if not self._total:
            self._first_ms = now_ms
        self._total += count
        times = self._times
        times.extend([now_ms] * count)
        while times[0] <= now_ms - self._window_ms:
            times.popleft()
        if len(times) > self._peak:
            self._peak, self._peak_first_ms, self._peak_last_ms = len(times), times[0], now_ms

    @property
    def row(self) -> dict[str, Any]:
        """The limit, the most requests within a window with the times of that burst's ends, and all requests."""
        return {
            "limit": self.limit,
            "window_ms": self._window_ms,
            "peak": self._peak,
            "peak_first_ms": self._peak_first_ms,
            "peak_last_ms": self._peak_last_ms,
            "total": self._total,
            "first_ms": self._first_ms,
            "last_ms": self._times[-1] if self._times else 0,
        }


class RateLimits:
    """Counts requests; breaches are counted even where limits are not enforced."""

    def __init__(
        self,
        *,
        enforced: bool,
        ban_ms: int = 600_000,
        address_limit: int = _IP_REQUESTS,
        endpoint_limits: Mapping[str, int] | None = None,
    ) -> None:
        """Start with nothing counted.

        Args:
            enforced: Whether exceeding a limit has consequences.
            ban_ms: How long an address is refused after exceeding its limit.
            address_limit: Requests of an address within 5 seconds.
            endpoint_limits: Requests per second and account of an endpoint, by its group, e.g. `order/create`, where
                they differ from those of an account without VIP tier.
        """
        self.enforced = enforced
        self.breaches: dict[str, int] = {}
        self.address_breaches = 0
        self._ban_ms = ban_ms
        self._address_limit = address_limit
        self._endpoint_limits = dict(endpoint_limits or {})
        self._taken: dict[tuple[int, str], deque[int]] = {}
        self._by_address: dict[str, deque[int]] = {}
        self._banned_until: dict[str, int] = {}
        self._account_meters: dict[tuple[int, str], RequestMeter] = {}
        self._address_meters: dict[str, RequestMeter] = {}

    def limit_of(self, group: str, limit: int) -> int:
        """Return the limit of an endpoint whose usual one is `limit`, requests per second."""
        return self._endpoint_limits.get(group, limit)

    def take(self, uid: int, group: str, limit: int, count: int, now_ms: int) -> Allowance:
        """Count `count` items of an account against an endpoint's limit; those beyond it are not granted."""
        limit = self.limit_of(group, limit)
        meter = self._account_meters.get((uid, group))
        if meter is None:
            meter = self._account_meters[uid, group] = RequestMeter(limit, _SECOND_MS)
        meter.note(now_ms, count)
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
        meter = self._address_meters.get(address)
        if meter is None:
            meter = self._address_meters[address] = RequestMeter(self._address_limit, _IP_WINDOW_MS)
        meter.note(now_ms)
        if now_ms < self._banned_until.get(address, 0):
            return not self.enforced
        window = self._by_address.setdefault(address, deque())
        while window and window[0] <= now_ms - _IP_WINDOW_MS:
            window.popleft()
        if len(window) >= self._address_limit:
            self.address_breaches += 1
            if self.enforced:
                self._banned_until[address] = now_ms + self._ban_ms
                return False
            window.popleft()
        window.append(now_ms)
        return True

    def usage(self, names: Mapping[int, str]) -> dict[str, Any]:
        """Return how much of each limit was used.

        Args:
            names: Account names by uid.
        """
        accounts: dict[str, dict[str, Any]] = {}
        for (uid, group), meter in sorted(self._account_meters.items()):
            accounts.setdefault(names[uid], {})[group] = meter.row
        return {
            "addresses": {address: meter.row for address, meter in sorted(self._address_meters.items())},
            "endpoints": accounts,
        }
