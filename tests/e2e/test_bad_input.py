"""What a person gets wrong: one clear line on standard error, an exit code that is not 0, and no report left behind."""

import gzip
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import breakwater

HEADER = "timestamp,open,high,low,close,volume\n"
DAY_MS = 86_400_000
START_MS = 1_704_067_200_000


def candles(days: int = 2) -> list[str]:
    minutes = range(START_MS, START_MS + days * DAY_MS, 60_000)
    return [f"{time_ms},100,101,99,100.5,10\n" for time_ms in minutes]


def write(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text(header + "".join(rows))
    return path


def replay_fails(folder: Path, *arguments: str | Path, code: int = 2) -> str:
    """Run a replay that must fail with the code; return its one line."""
    output = folder / "out"
    finished = breakwater("replay", *arguments, "--out", output)
    assert finished.returncode == code, (finished.returncode, finished.stderr[-1500:])
    lines = [line for line in finished.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert not (output / "report.json").exists()
    assert not (output / "report.html").exists()
    return lines[0]


def change(rows: list[str], index: int, row: str) -> list[str]:
    return [*rows[:index], row, *rows[index + 1 :]]


BAD_ROWS = {
    "negative price": (change(candles(), 9, f"{START_MS + 9 * 60_000},-5,101,-5,100,10\n"), "row 11"),
    "not a number": (change(candles(), 9, f"{START_MS + 9 * 60_000},abc,101,99,100,10\n"), "row"),
    "unsorted": (candles()[:5] + candles()[6:7] + candles()[5:6] + candles()[7:], "row"),
    "repeated": (candles()[:5] + candles()[4:], "row"),
    "high below low": (change(candles(), 9, f"{START_MS + 9 * 60_000},100,98,99,100,10\n"), "row 11"),
}


@pytest.mark.parametrize("name", sorted(BAD_ROWS))
def test_a_bad_row_is_named_with_its_file(tmp_path: Path, name: str) -> None:
    rows, expected = BAD_ROWS[name]
    line = replay_fails(tmp_path, write(tmp_path / "x_BTCUSDT_1m.csv", rows))
    assert "x_BTCUSDT_1m.csv" in line
    assert expected in line


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    line = replay_fails(tmp_path, write(tmp_path / "x_BTCUSDT.csv", ["1,2\n"], header="when,what\n"))
    assert "x_BTCUSDT.csv" in line


def test_a_broken_gzip_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x_BTCUSDT.csv.gz"
    file.write_bytes(gzip.compress((HEADER + "".join(candles())).encode())[:-200])
    assert "x_BTCUSDT.csv.gz" in replay_fails(tmp_path, file)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "x_BTCUSDT.csv" in replay_fails(tmp_path, write(tmp_path / "x_BTCUSDT.csv", [], header=""))


def test_a_file_of_no_known_symbol_asks_for_it(tmp_path: Path) -> None:
    assert "SYMBOL=" in replay_fails(tmp_path, write(tmp_path / "prices.csv", candles()))


def test_a_symbol_that_no_file_holds_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "x_BTCUSDT.csv", candles())
    assert "ETHUSDT" in replay_fails(tmp_path, file, "--set", "portfolio.symbols=[ETHUSDT]")


def test_a_range_without_a_complete_day_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "x_BTCUSDT.csv", candles()[:100])
    assert "no complete day" in replay_fails(tmp_path, file)


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("strategy.k_long=-1", "strategy.k_long"),
        ("strategy.filter=up", "strategy.filter"),
        ("strategy.kay=1", "no such key"),
        ("portfolio.gross_leverage=nan", "portfolio.gross_leverage"),
        ("session.timezone=Mars", "Mars"),
        ("nonsense", "section.key=value"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, setting: str, word: str) -> None:
    file = write(tmp_path / "x_BTCUSDT.csv", candles())
    assert word in replay_fails(tmp_path, file, "--set", setting)


def test_a_bad_configuration_file_is_named(tmp_path: Path) -> None:
    config = tmp_path / "breakwater.yaml"
    config.write_text("strategy: [unclosed")
    file = write(tmp_path / "x_BTCUSDT.csv", candles())
    assert "breakwater.yaml" in replay_fails(tmp_path, file, "--config", config)


def test_a_missing_recording_is_named(tmp_path: Path) -> None:
    assert "absent_BTCUSDT.csv" in replay_fails(tmp_path, tmp_path / "absent_BTCUSDT.csv")


def test_an_absent_database_is_named_without_its_password(tmp_path: Path) -> None:
    file = write(tmp_path / "x_BTCUSDT.csv", candles())
    url = "postgresql+psycopg://user:hunter2@127.0.0.1:9/nothing"
    line = replay_fails(tmp_path, file, "--database", url, code=3)
    assert "Postgres at 127.0.0.1:9" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "command",
    [
        ["demo"],
        ["up"],
        ["record", "--set", "portfolio.symbols=[BTCUSDT]"],
        ["fetch", "candles", "BTCUSDT", "--start", "2024-01-01"],
    ],
    ids=lambda command: command[0],
)
def test_an_output_folder_that_is_a_file_is_named(tmp_path: Path, command: list[str]) -> None:
    file = write(tmp_path / "taken", [])
    finished = breakwater(*command, "--out", file)
    assert finished.returncode == 2
    [line] = finished.stderr.strip().splitlines()
    assert str(file) in line
    assert "check the path" in line


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def test_a_taken_port_is_named(taken_port: int) -> None:
    finished = breakwater("paper-exchange", "--port", str(taken_port), "--synthetic")
    assert finished.returncode == 3
    assert str(taken_port) in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1


def test_an_absent_nats_ends_a_service_with_one_clear_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_NATS_URL", "nats://127.0.0.1:9")
    finished = breakwater("run", "notifier")
    assert finished.returncode == 3
    assert "NATS is not reachable at nats://127.0.0.1:9" in finished.stderr


def test_a_misspelt_environment_name_ends_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_SLAK_TOKEN", "x")
    finished = breakwater("run", "notifier")
    assert finished.returncode == 2
    assert "NOTIFIER_SLAK_TOKEN" in finished.stderr


def test_an_unknown_service_is_refused() -> None:
    finished = breakwater("run", "nothing")
    assert finished.returncode == 2
    assert "market-data" in finished.stderr
