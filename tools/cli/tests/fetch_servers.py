"""Local servers that speak as the exchange's archive and its REST interface do, with faults on order."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

MINUTE_MS = 60_000
STEPS_MS = {"1": MINUTE_MS, "5": 5 * MINUTE_MS, "60": 60 * MINUTE_MS, "D": 1440 * MINUTE_MS}
HEADER = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer.

    Attributes:
        kind: `drop` (the connection ends after `value` bytes), `short` (the body is that long, and says so), `status`,
            `no range` (the whole file although a part was asked for), `code` (a retCode), `hold` (the connection stays
            open after `value` bytes until the server is released, then ends).
        value: Bytes, status or code.
    """

    kind: str
    value: int = 0


@dataclass
class Served:
    """A running server.

    Attributes:
        url: Its address.
        requests: Path, query and `Range` of each request.
        faults: What goes wrong with the next requests of a path; an answer takes the first of the list.
        held: Set when an answer is held.
        release: Lets held answers go.
    """

    url: str = ""
    requests: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, path: str) -> Fault | None:
        with self.lock:
            waiting = self.faults.get(path)
            return waiting.pop(0) if waiting else None


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of a `FaultyServer`."""

    protocol_version = "HTTP/1.1"
    server: "FaultyServer"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer as the server's function says, unless a fault is waiting."""
        parts = urlsplit(self.path)
        query, wanted = dict(parse_qsl(parts.query)), self.headers.get("Range", "")
        served = self.server.served
        with served.lock:
            served.requests.append((parts.path, query, wanted))
        fault = served.next_fault(parts.path) or Fault("none")
        if fault.kind == "status":
            self._send(fault.value, b"<html>sorry</html>")
        elif fault.kind == "code":
            self._send(200, json.dumps({"retCode": fault.value, "retMsg": "Too many visits!", "result": {}}).encode())
        elif (body := self.server.answer(parts.path, query)) is None:
            self._send(404, b"not found")
        elif wanted and fault.kind != "no range":
            self._send_part(body, int(wanted.removeprefix("bytes=").removesuffix("-")), fault)
        else:
            self._send(200, body, fault=fault)

    def _send_part(self, body: bytes, first: int, fault: Fault) -> None:
        if first >= len(body):
            self._send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            return
        self._send(206, body[first:], {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}, fault)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, fault: Fault | None = None
    ) -> None:
        fault = fault or Fault("none")
        if fault.kind == "short":
            body = body[: fault.value]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        breaks = fault.kind in {"drop", "hold"}
        self.wfile.write(body[: fault.value] if breaks else body)
        self.wfile.flush()
        if fault.kind == "hold":
            self.server.served.held.set()
            self.server.served.release.wait(60)
        self.close_connection = self.close_connection or breaks


class FaultyServer(ThreadingHTTPServer):
    """Serves bodies by path and query; None is a 404."""

    daemon_threads = True

    def __init__(self, answer: Callable[[str, dict[str, str]], bytes | None]) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.served = Served(url=f"http://127.0.0.1:{self.server_port}")

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients are killed on purpose."""


@contextmanager
def serve(answer: Callable[[str, dict[str, str]], bytes | None]) -> Iterator[Served]:
    """Run a server while the context is open."""
    server = FaultyServer(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.served
    finally:
        server.served.release.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def archive_rows(symbol: str, day_s: int, count: int = 400) -> list[str]:
    """Return the lines of a day's file."""
    lines = [HEADER]
    for number in range(count):
        price = 100 + (number * 7919 + len(symbol)) % 1009 / 10
        stamp = day_s + number * 200
        identity = f"{symbol}-{day_s}-{number:06d}"
        lines.append(
            f"{stamp}.{number % 10_000:04d},{symbol},{'Sell' if number % 3 else 'Buy'},{1 + number % 5},"
            f"{price},PlusTick,{identity},1e+08,1,{price}"
        )
    return lines


def packed(lines: list[str]) -> bytes:
    """Return lines as a gzip file, the same each time."""
    return gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0)


@contextmanager
def serve_archive(files: dict[str, bytes]) -> Iterator[Served]:
    """Serve files by their path below `/trading/`."""
    with serve(lambda path, _query: files.get(path.removeprefix("/trading/"))) as served:
        served.url += "/trading"
        yield served


def bar_of(symbol: str, start_ms: int, step_ms: int) -> list[str]:
    """Return the bar that the REST server has for a time: made of it alone."""
    base = 1000 + start_ms // step_ms % 977 + len(symbol)
    return [str(start_ms), f"{base}", f"{base + 3.5}", f"{base - 2.25}", f"{base + 1.75}", "12.5", f"{base * 12.5}"]


@dataclass(frozen=True)
class Listing:
    """A symbol of the REST server.

    Attributes:
        from_ms: Its first bar.
        without: Bars that it does not have.
    """

    from_ms: int
    without: frozenset[int] = frozenset()


@contextmanager
def serve_rest(listings: dict[str, Listing], *, now_ms: int | None = None) -> Iterator[Served]:
    """Serve time, candles and funding history as Bybit v5 does: newest first, the newest `limit` of a range."""

    def answer(path: str, query: dict[str, str]) -> bytes | None:
        time_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        result: dict[str, object]
        symbol = query.get("symbol", "")
        if path == "/v5/market/time":
            result = {"timeSecond": str(time_ms // 1000), "timeNano": str(time_ms * 1_000_000)}
        elif symbol not in listings:
            return json.dumps({"retCode": 10001, "retMsg": "Symbol Is Invalid", "result": {}, "time": time_ms}).encode()
        elif path == "/v5/market/kline":
            result = {"symbol": symbol, "category": "linear", "list": _bars(listings[symbol], query, time_ms)}
        elif path == "/v5/market/funding/history":
            result = {"category": "linear", "list": _rates(listings[symbol], query, time_ms)}
        else:
            return None
        return json.dumps({"retCode": 0, "retMsg": "OK", "result": result, "time": time_ms}).encode()

    with serve(answer) as served:
        yield served


def _bars(listing: Listing, query: dict[str, str], time_ms: int) -> list[list[str]]:
    step_ms = STEPS_MS[query["interval"]]
    first_ms = max(int(query["start"]), listing.from_ms // step_ms * step_ms)
    last_ms = min(int(query.get("end", time_ms)), time_ms)
    starts = range(-(-first_ms // step_ms) * step_ms, last_ms + 1, step_ms)
    found = [start for start in starts if start not in listing.without]
    return [bar_of(query["symbol"], start, step_ms) for start in reversed(found[-int(query["limit"]) :])]


def _rates(listing: Listing, query: dict[str, str], time_ms: int) -> list[dict[str, str]]:
    interval_ms = 8 * 60 * MINUTE_MS
    first_ms = max(int(query["startTime"]), listing.from_ms)
    last_ms = min(int(query["endTime"]), time_ms)
    stamps = range(-(-first_ms // interval_ms) * interval_ms, last_ms + 1, interval_ms)
    return [
        {"symbol": query["symbol"], "fundingRate": rate_at(stamp), "fundingRateTimestamp": str(stamp)}
        for stamp in reversed(stamps[-int(query["limit"]) :])
    ]


def rate_at(stamp_ms: int) -> str:
    """Return the rate that the REST server has for a stamp."""
    return f"0.{stamp_ms // 3_600_000 % 97:06d}"
