"""Makers of small recordings that the tests share."""

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from breakwater_core.market import TradeBatch

type WriteText = Callable[[str, Iterable[str]], Path]
type MakeBatch = Callable[..., TradeBatch]


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteText:
    """Write lines to a file of the test's folder, gzipped if its name says so."""

    def write(name: str, lines: Iterable[str]) -> Path:
        path = tmp_path / name
        content = ("\n".join(lines) + "\n").encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture(scope="session")
def make_batch() -> MakeBatch:
    """Make a batch of times alone; prices, sizes and sides follow from the index unless given."""

    def make(
        times_ms: Iterable[int],
        *,
        symbol: str = "BTCUSDT",
        prices: Iterable[float] | None = None,
        sizes: Iterable[float] | None = None,
    ) -> TradeBatch:
        times = np.array(list(times_ms), dtype=np.int64)
        index = np.arange(times.size)
        return TradeBatch(
            symbol=symbol,
            times_ms=times,
            prices=100.0 + index % 7 if prices is None else np.array(list(prices), dtype=np.float64),
            sizes=1.0 + index % 3 if sizes is None else np.array(list(sizes), dtype=np.float64),
            taker_sides=(index % 3 - 1).astype(np.int8),
        )

    return make
