"""Secrets that change while a process runs: files, links as Kubernetes moves them, the password of NATS."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.errors import BreakwaterError
from breakwater_core.events import Alert
from breakwater_runtime.bus import connect
from breakwater_runtime.secret_rotation import (
    REFRESHES,
    RotatingSecret,
    SecretRefusedError,
    SecretWatch,
    secrets_followed,
)
from breakwater_runtime.secret_sources import SecretReference, file_reference
from breakwater_runtime.settings import ServiceSettings


class ThingSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="THING_", frozen=True, extra="forbid")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not condition():
            await asyncio.sleep(0.01)


def secret_in(path: Path, name: str = "THING_TOKEN") -> RotatingSecret:
    place = file_reference(f"{name}_FILE", str(path))
    return RotatingSecret(name, place, place.read())


@asynccontextmanager
async def followed(secret: RotatingSecret, alerts: list[Alert] | None = None) -> AsyncIterator[list[str]]:
    taken: list[str] = []

    async def take(text: str) -> None:
        if text.startswith("bad"):
            raise SecretRefusedError("it is bad")
        taken.append(text)

    async def raise_alert(alert: Alert) -> None:
        if alerts is not None:
            alerts.append(alert)

    secret.follow(take)
    async with secrets_followed([secret], refresh_s=0.05, service="thing", run_id="live", raise_alert=raise_alert):
        yield taken


async def test_a_file_that_was_written_anew_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first-value\n")
    secret = secret_in(path)
    async with followed(secret) as taken:
        path.write_text("other-value\n")  # same size: only the content tells
        await until(lambda: secret.current == "other-value")
    assert taken == ["other-value"]


async def test_a_mount_that_kubernetes_has_swapped_is_taken(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "token").write_text(f"value-{number}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "token").symlink_to("..data/token")
    secret = secret_in(tmp_path / "token")
    async with followed(secret):
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        await until(lambda: secret.current == "value-2")


@pytest.mark.parametrize("damage", ["absent", "empty", "refused"])
async def test_the_last_good_value_stays_and_one_alert_tells_of_it(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "token"
    path.write_text("good-value")
    secret, alerts = secret_in(path, f"THING_{damage.upper()}"), list[Alert]()
    outcome = "refused" if damage == "refused" else "unreadable"

    def times() -> float:
        return REFRESHES.labels(secret.name, outcome)._value.get()

    async with followed(secret, alerts):
        match damage:
            case "absent":
                path.unlink()
            case "empty":
                path.write_text("")
            case _:
                path.write_text("bad-value")
        await until(lambda: times() >= 5)
        assert secret.current == "good-value"
        (alert,) = alerts
        assert alert.name == f"secret_{outcome}"
        assert "bad-value" not in alert.summary
        path.write_text("new-value")
        await until(lambda: secret.current == "new-value")
        path.unlink()
        await until(lambda: len(alerts) == 2)


async def test_a_single_failure_is_no_alert(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("good-value")
    alerts = list[Alert]()

    async def raise_alert(alert: Alert) -> None:
        alerts.append(alert)

    watch = SecretWatch(
        secret_in(path, "THING_ONCE"), refresh_s=1, service="thing", run_id="live", raise_alert=raise_alert
    )
    for present in (False, True, False):
        if present:
            path.write_text("good-value")
        else:
            path.unlink()
        await watch.look()
    assert not alerts
    await watch.look()
    await watch.look()
    assert [alert.name for alert in alerts] == ["secret_unreadable"]


async def test_a_value_that_only_some_have_taken_is_undone_when_it_changes_back(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("good-value")
    secret, in_use = secret_in(path, "THING_MIXED"), {"first": "good-value", "second": "good-value"}

    async def first(text: str) -> None:
        in_use["first"] = text

    async def second(text: str) -> None:
        if text.startswith("bad"):
            raise SecretRefusedError("it is bad")
        in_use["second"] = text

    secret.follow(first)
    secret.follow(second)
    path.write_text("bad-value")
    assert (await secret.refresh())[0] == "refused"
    path.write_text("good-value")
    assert (await secret.refresh())[0] == "unchanged"
    assert in_use == {"first": "good-value", "second": "good-value"}


async def test_what_a_library_raises_ends_no_watch_and_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("good-value")
    broken = [False]

    def fetch() -> bytes:
        if broken[0]:
            raise KeyError("canary-in-a-key-error")
        return path.read_bytes()

    secret, alerts = RotatingSecret("THING_ODD", SecretReference("THING_ODD_FROM", "x", None, fetch), "good-value"), []
    async with followed(secret, alerts):
        broken[0] = True
        await until(lambda: bool(alerts))
        broken[0] = False
        path.write_text("new-value")
        await until(lambda: secret.current == "new-value")
    assert alerts[0].name == "secret_unreadable"
    assert "canary" not in alerts[0].summary


async def test_what_nobody_uses_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("good-value")
    secret = secret_in(path, "THING_UNUSED")
    path.write_text("new-value")
    outcome, reason = await secret.refresh()
    assert (outcome, secret.current) == ("refused", "good-value")
    assert "next start" in reason


# -- the password of NATS ------------------------------------------------------------------------------------------


class GuardedNats:
    """A NATS server that wants a password, which can be replaced while it runs."""

    def __init__(self, server: NatsProcess) -> None:
        self.server = server
        self._configuration = server.directory / "nats.conf"
        self._open = self._configuration.read_text(encoding="utf-8")

    def set_password(self, password: str) -> None:
        """Have the server want another password: it turns away who came with the old one."""
        self._configuration.write_text(
            f'{self._open}authorization {{ users = [ {{user: "thing", password: "{password}"}} ] }}\n',
            encoding="utf-8",
        )
        assert self.server.process is not None
        os.kill(self.server.process.pid, signal.SIGHUP)


@pytest.fixture
def guarded(nats_server: NatsProcess) -> GuardedNats:
    return GuardedNats(nats_server)


async def can_login(url: str, password: str) -> bool:
    settings = ServiceSettings(nats_url=url, nats_user="thing", nats_password=SecretStr(password))
    try:
        async with asyncio.timeout(3), connect(settings, name="probe"):
            return True
    except (BreakwaterError, TimeoutError):
        return False


async def until_login(url: str, password: str) -> None:
    """Return once the server has read its configuration."""
    async with asyncio.timeout(90):
        while not await can_login(url, password):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("first", ["file", "server"])
async def test_a_new_password_of_nats_is_used_without_a_restart(
    guarded: GuardedNats, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: str
) -> None:
    path = tmp_path / "password"
    path.write_text("canary-old-password\n")
    guarded.set_password("canary-old-password")
    url = guarded.server.url
    await until_login(url, "canary-old-password")
    for name, value in {
        "NATS_URL": url,
        "NATS_USER": "thing",
        "NATS_PASSWORD_FILE": str(path),
        "SECRETS_REFRESH_S": "0.05" if first == "file" else "600",
    }.items():
        monkeypatch.setenv(f"THING_{name}", value)
    settings = ThingSettings.load()
    async with asyncio.timeout(60), connect(settings, name="thing") as bus:
        before = bus.connections
        if first == "file":
            path.write_text("canary-new-password\n")
            await until(lambda: settings.current_nats_password() == "canary-new-password")
            guarded.set_password("canary-new-password")
        else:
            guarded.set_password("canary-new-password")
            await until(lambda: not bus.client.is_connected)
            path.write_text("canary-new-password\n")
        await until(lambda: bus.client.is_connected and bus.connections > before)
        await bus.write("control", "key", b"value")
        assert await bus.read("control", "key") == b"value"
