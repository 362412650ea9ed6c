"""`breakwater doctor` against a paper exchange: what it finds, how it says so, and its exit code."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from breakwater_cli.doctor import doctor_request, keys_of
from breakwater_core.errors import InvalidInputError
from paper_exchange_service.playback import play_synthetic
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings
from paper_exchange_service.venue import wall_clock_ms

SECRET = "canary-secret"


@pytest.fixture
async def exchange() -> AsyncIterator[PaperExchange]:
    good = AccountSettings(name="main", key="key-main", secret=SecretStr(SECRET), ips=("127.0.0.1",))
    bad = AccountSettings(
        name="other", key="key-other", secret=SecretStr(SECRET), read_only=True, wallet_permissions=("Withdraw",)
    )
    playback = play_synthetic(seed=1, symbols=("BTCUSDT",), trades_per_day=2000, history_days=1, now_ms=wall_clock_ms())
    async with PaperExchange(Options(accounts=(good, bad)), playback) as exchange:
        yield exchange


@pytest.fixture
def files(tmp_path: Path) -> Path:
    accounts = [{"name": name, "api_key": f"key-{name}", "api_secret": SECRET} for name in ("main", "other")]
    (tmp_path / "accounts.json").write_text(json.dumps(accounts))
    (tmp_path / "config.yaml").write_text("portfolio: {symbols: [BTCUSDT]}\n")
    return tmp_path


async def doctor(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "breakwater"), "doctor", *map(str, arguments)]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)


def options(exchange: PaperExchange, files: Path, *more: object) -> tuple[object, ...]:
    keys, config = files / "accounts.json", files / "config.yaml"
    return ("--exchange", exchange.rest_url, "--accounts-file", keys, "--config", config, *more)


async def test_a_sound_account_passes_every_check(exchange: PaperExchange, files: Path) -> None:
    finished = await doctor(*options(exchange, files, "--account", "main", "--json"))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    findings: list[dict[str, Any]] = json.loads(finished.stdout)
    of_account = {finding["name"] for finding in findings if finding["account"] == "main"}
    assert {"clock", "key_withdrawal", "key_access", "key_expiry", "key_addresses", "margin_mode"} <= of_account
    assert {"account_type", "balance", "symbols", "leverage", "position_mode"} <= of_account
    assert all(finding["passed"] for finding in findings)


async def test_faults_are_listed_with_their_remedies_and_no_secret(exchange: PaperExchange, files: Path) -> None:
    finished = await doctor(*options(exchange, files))
    assert finished.returncode == 1
    lines = finished.stdout.splitlines()
    assert lines[0].split() == ["check", "result", "remedy"]
    (withdrawal,) = [line for line in lines if line.startswith("other key_withdrawal")]
    assert "FAIL" in withdrawal
    assert "create a key without" in withdrawal
    assert any(line.startswith("other key_access") and "FAIL" in line for line in lines)
    assert any(line.startswith("main key_withdrawal") and "ok" in line for line in lines)
    for secret in (SECRET, "key-main", "key-other"):
        assert secret not in finished.stdout + finished.stderr


async def test_bad_input_is_told_from_a_failed_check() -> None:
    finished = await doctor("--accounts-file", "absent.json")
    assert finished.returncode == 2
    assert "cannot be read" in finished.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"account": "main"}, "--accounts-file"),
        ({"api_key": "k"}, "together"),
        ({"exchange_url": "ftp://x"}, "http"),
        ({"echo_url": "x"}, "http"),
        ({"expected_addresses": ("here",)}, "not an address"),
        ({"config_path": Path("absent.yaml")}, "absent.yaml"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_asked(changes: dict[str, Any], words: str) -> None:
    options = dict.fromkeys(("exchange_url", "accounts_file", "account", "api_key", "api_secret", "echo_url"))
    options |= dict.fromkeys(("database_url", "nats_url", "config_path"))
    with pytest.raises(InvalidInputError, match=words):
        doctor_request(**{"leverage": 10, "expected_addresses": (), **options, **changes})


def test_an_account_that_the_file_lacks_is_refused(files: Path) -> None:
    with pytest.raises(InvalidInputError, match="main, other"):
        keys_of(files / "accounts.json", "third")
