"""No secret is in anything that the system writes, also when things go wrong: the whole of it runs and is searched."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from breakwater_cli.completion import ProgressWatch, wait_for_end, wait_until_settled
from breakwater_cli.processes import ProcessSpecification, child_environment
from breakwater_cli.replay import ReplayRequest, prepare, running
from breakwater_cli.system import SystemPlan
from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Alert, Severity
from breakwater_recordings.synthetic import write_synthetic
from breakwater_research.report_files import write_report
from breakwater_research.tearsheet import render_html
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.config_file import write_config
from reporter_service.reading import load_report
from services.reporter.tests.conftest import postgres  # noqa: F401  # a fixture
from tests.e2e.canary_system import (
    PLANTED,
    PREFIXES,
    Canaries,
    GuardedNats,
    SlackOfCanaries,
    bus_settings,
    command_lines,
    files_of,
    messages_of,
    pages_of,
    rows_of,
    with_secrets,
)
from tests.e2e.command import breakwater

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

RUN = "replay-canary"
PATIENCE_S = 40


def accounts(key: str, secret: str) -> str:
    """Return the executor's list of accounts."""
    return json.dumps([{"name": "main", "api_key": key, "api_secret": secret}])


class System:
    """The processes of a replay, their secrets given by value and by file in turn, and what may go wrong with them."""

    def __init__(self, folder: Path, database: Any, slack: SlackOfCanaries) -> None:
        self.folder = folder
        self.canaries = Canaries(folder / "secrets")
        self.slack = slack
        self.database = database
        self.nats = GuardedNats(folder / "bus")
        self.said: dict[str, str] = {}
        recording = folder / "recording"
        recording.mkdir()
        config = BreakwaterConfig()
        write_synthetic(
            recording,
            seed=3,
            first_day=date(2024, 1, 1),
            days=7,
            trades_per_day_total=3000,
            session=config.session.session(),
        )
        self.prepared = prepare(
            ReplayRequest(sources=(str(recording),), config=config, output=folder / "out", run_id=RUN)
        )
        (folder / "out").mkdir()
        write_config(self.prepared.config, folder / "out" / "config.json")
        self.plan = SystemPlan(
            run_id=RUN,
            nats_url=self.nats.url,
            config_path=folder / "out" / "config.json",
            config=self.prepared.config,
            database_url="",
            directory=folder / "out",
            recordings=(str(recording),),
            log_level="debug",
        )
        self._make_login()

    # -- secrets ---------------------------------------------------------------------------------------------------

    def _make_login(self) -> None:
        """Have Postgres know a role with a password."""
        url = self.database.new_database()
        self.database_name = url.rpartition("/")[2]
        with psycopg.connect(f"{self.database.url}/postgres", autocommit=True) as admin:
            password = Literal(self.canaries["database"])
            admin.execute(SQL("CREATE ROLE canary_keeper LOGIN PASSWORD {}").format(password))
            admin.execute(
                SQL("ALTER DATABASE {} OWNER TO {}").format(Identifier(self.database_name), Identifier("canary_keeper"))
            )
        access = self.database.folder / "data" / "pg_hba.conf"
        if access.is_file():  # in a container passwords are wanted anyway
            access.write_text(f"host all canary_keeper 127.0.0.1/32 scram-sha-256\n{access.read_text()}")
            with psycopg.connect(f"{self.database.url}/postgres", autocommit=True) as admin:
                admin.execute("SELECT pg_reload_conf()")

    def database_url(self, password: str) -> str:
        return f"postgresql://canary_keeper:{password}@127.0.0.1:{self.database.port}/{self.database_name}"

    def guarded(self, specification: ProcessSpecification) -> ProcessSpecification:
        """Return the process with its secrets."""
        module, canaries = specification.module, self.canaries
        additions = {"NATS_USER": module, "SECRETS_REFRESH_S": "0.2"}
        without: tuple[str, ...] = ()
        if module in {"signal_service", "executor_service", "notifier_service"}:
            additions["NATS_PASSWORD_FILE"] = str(canaries.file(f"nats-{module}", canaries[f"nats {module}"]))
        else:
            additions["NATS_PASSWORD"] = canaries[f"nats {module}"]
        if module == "executor_service":
            without = ("ACCOUNTS",)
            text = accounts(canaries["api key"], canaries["api secret"])
            additions["ACCOUNTS_FILE"] = str(canaries.file("accounts.json", text))
        if module == "paper_exchange_service":
            additions["ACCOUNTS"] = json.dumps(
                [{"name": "main", "key": canaries["api key"], "secret": canaries["api secret"]}]
            )
        if module == "reporter_service":
            without = ("DATABASE_URL",)
            text = json.dumps({"url": self.database_url(canaries["database"])})
            additions["DATABASE_URL_FROM"] = f"{canaries.file('database.json', text).as_uri()}#url"
            additions["DATABASE_ALERT_S"] = "0.5"
        if module == "notifier_service":
            additions |= {
                "SLACK_TOKEN_FILE": str(canaries.file("slack", canaries["slack token"])),
                "SLACK_CHANNEL": "C0123456789",
                "SLACK_BASE_URL": self.slack.url,
                "SLACK_ALERT_S": "0.5",
                "MESSAGE_INTERVAL_S": "0",
                "RETRY_MAX_S": "1",
            }
        return with_secrets(specification, additions, without=without)

    # -- what goes wrong -------------------------------------------------------------------------------------------

    def failures(
        self, specifications: dict[str, ProcessSpecification]
    ) -> Iterator[tuple[str, ProcessSpecification, dict[str, str], int]]:
        """Yield processes that cannot start: what is wrong, the process, its settings, its exit code."""
        canaries = self.canaries
        executor, late = specifications["executor-1"], {"INSTANCE": "late", "CLOCK": "wall", "BUDGET": "off"}
        broken = canaries.file("broken.json", f'[{{"name": "main", "api_key": "{canaries["broken file"]}"')
        yield "broken file", executor, late | {"ACCOUNTS_FILE": str(broken)}, 2
        wrong = canaries.file("wrong.json", accounts(canaries["api key"], canaries["wrong secret"]))
        yield "wrong secret", executor, late | {"ACCOUNTS_FILE": str(wrong)}, 1
        yield "two ways", executor, late | {"ACCOUNTS": accounts(canaries["key twice"], canaries["secret twice"])}, 2
        password = canaries.file("nats-wrong", canaries["wrong nats password"])
        yield "wrong NATS password", executor, late | {"NATS_PASSWORD_FILE": str(password)}, 3
        malformed = json.dumps([{"name": "a b", "key": canaries["broken key"], "secret": 1}])
        yield "malformed accounts", specifications["paper-exchange"], {"ACCOUNTS": malformed}, 2
        hostless = {"DATABASE_URL": f"postgresql://keeper:{canaries['hostless']}/db", "DATABASE_URL_FROM": ""}
        yield "database without host", specifications["reporter"], hostless, 2

    def fails_to_start(
        self, name: str, specification: ProcessSpecification, additions: dict[str, str], code: int
    ) -> None:
        """Run a process that cannot start, and keep what it says."""
        wrong = with_secrets(specification, additions)
        prefix = PREFIXES[wrong.module]
        environment = {key: value for key, value in wrong.environment.items() if key != f"{prefix}HTTP_PORT"}
        done = subprocess.run(
            [sys.executable, "-m", wrong.module],
            env=child_environment(environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.said[name] = done.stdout + done.stderr
        assert (done.returncode, bool(self.said[name].strip())) == (code, True), (name, self.said[name][-1000:])

    def commands_that_fail(self, environment: pytest.MonkeyPatch) -> None:
        """Run commands with secrets that are wrong, given as a person gives them."""
        canaries = self.canaries
        wrong = canaries.file("wrong-accounts.json", accounts(canaries["wrong key"], canaries["wrong secret"]))
        broken = canaries.file("broken-accounts.json", f'[{{"name": "main", "api_key": "{canaries["broken file"]}"')
        for name, value in {
            "BREAKWATER_NATS_URL": self.nats.url,
            "BREAKWATER_NATS_USER": "cli",
            "BREAKWATER_NATS_PASSWORD": canaries["wrong nats password"],
            "BREAKWATER_DATABASE_URL": self.database_url(canaries["wrong database password"]),
        }.items():
            environment.setenv(name, value)
        nats_url = self.nats.url.replace("://", f"://cli:{canaries['nats cli']}@")
        for arguments in (
            ["status"],
            ["doctor", "--exchange", self.plan.exchange_url, "--accounts-file", str(wrong)],
            ["doctor", "--exchange", self.plan.exchange_url, "--accounts-file", str(broken)],
        ):
            done = breakwater(*arguments, timeout_s=60)
            self.said[f"command {' '.join(arguments[:2])} {len(self.said)}"] = done.stdout + done.stderr
        assert nats_url not in "".join(self.said.values())

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await holds():
                await asyncio.sleep(0.1)


async def alerts_named(bus: Bus, *names: str) -> bool:
    """Whether alerts of all these names are on the bus."""
    text = (await messages_of(bus, "ALERT"))["stream ALERT"]
    return all(name in text for name in names)


async def test_no_secret_is_in_anything_that_the_system_writes(
    tmp_path: Path,
    postgres: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slack = SlackOfCanaries()
    system = await asyncio.to_thread(System, tmp_path, postgres, slack)
    canaries, plan, nats = system.canaries, system.plan, system.nats
    nats.start()
    found: dict[str, str] = {}
    try:
        settings = bus_settings(nats.url, canaries, RUN)
        async with connect(settings, name="test"):
            pass  # the streams are made
        nats.guard(canaries)
        prices = {"REFERENCE_PRICES": json.dumps(system.prepared.first_prices)}
        values = plan.replay_values(speed="max", first_day=system.prepared.first_day, last_day=system.prepared.last_day)
        first = [plan.paper_exchange(prices), plan.market_data(values), *plan.signal_processes(), *plan.book_keepers()]
        logs, watch = plan.directory / "logs", ProgressWatch()
        async with (
            running(logs, [system.guarded(one) for one in first], wait=False) as group,
            connect(settings, name="test") as bus,
        ):
            await group.wait_until_ready(["paper-exchange"])
            group.start([system.guarded(one) for one in plan.executor_processes()])
            await wait_for_end(bus, watch)
            ports = {name: child.specification.http_port for name, child in group.children.items()}
            specifications = {name: child.specification for name, child in group.children.items()}

            # What goes wrong while it runs: files that are broken or wrong, a token that Slack refuses.
            await system.until(lambda: alerts_named(bus, "slack_away"))
            found |= {f"while Slack refuses: {name}": text for name, text in pages_of(ports, RUN).items()}
            slack.accepted = canaries["slack token"]
            await wait_until_settled(bus)
            canaries.file("accounts.json", accounts(canaries["new key"], canaries["new secret"]))
            wrong_url = system.database_url(canaries["wrong database password"])
            canaries.file("database.json", json.dumps({"url": wrong_url}))
            canaries.file("nats-signal_service", f"{canaries['next nats password']}\n\0{'x' * 70_000}")
            await system.until(
                lambda: alerts_named(bus, "secret_refused", "secret_unreadable", "REPORTER_DATABASE_URL")
            )
            canaries.file("slack", canaries["next slack token"])
            await system.until(lambda: alerts_named(bus, "NOTIFIER_SLACK_TOKEN"))
            slack.accepted = canaries["next slack token"]
            await bus.publish(Alert("rotated", RUN, Severity.INFO, "test", "rotated", "under the next token", 0))
            async with asyncio.timeout(PATIENCE_S):
                while not any("under the next token" in text for text in slack.posted):
                    await asyncio.sleep(0.1)

            # What goes wrong at the start.
            await asyncio.gather(
                *(asyncio.to_thread(system.fails_to_start, *failure) for failure in system.failures(specifications)),
                asyncio.to_thread(system.commands_that_fail, monkeypatch),
            )

            report = await asyncio.to_thread(load_report, system.database_url(canaries["database"]), RUN)
            assert report["fills"], "the replay must have traded"
            write_report(report, plan.directory / "report.json")
            (plan.directory / "report.html").write_text(render_html(report), encoding="utf-8")
            found |= {f"command line {name}": text for name, text in command_lines().items()}
            found |= pages_of(ports, RUN)
            found |= {
                f"database: {name}": text for name, text in rows_of(f"{postgres.url}/{system.database_name}").items()
            }

            # The database goes away.
            await asyncio.to_thread(postgres.interrupt)
            canary_alert = Alert("provoked", RUN, Severity.INFO, "test", "provoked", "needs the database", 0)
            await bus.publish(canary_alert)
            await system.until(lambda: alerts_named(bus, "database_away"))
            found |= {f"without database: {name}": text for name, text in pages_of(ports, RUN).items()}

            # The search finds what is there: an alert of a process that does not know the secret.
            planted = Alert("planted", RUN, Severity.INFO, "test", "planted", canaries[PLANTED], 0)
            messages = await messages_of(bus)
            assert messages["stream ALERT"].count("Nats-Msg-Id") > 3
            assert messages["stream KV_intents"].strip()
            found |= messages
            await bus.publish(planted)
            assert canaries.found_in(await messages_of(bus, "ALERT"))
        await asyncio.to_thread(postgres.start)
    finally:
        nats.stop()
        slack.shutdown()
    found |= system.said
    found |= {"Slack": "\n".join(slack.posted)}
    found |= dict(files_of(plan.directory))
    found["nats.log"] = (nats.directory / "nats.log").read_text()
    assert {"while Slack refuses: reporter/runs", "reporter/openapi.json", "reporter/metrics"} <= set(found)
    assert any(name.endswith("executor-account.log") for name in found)
    assert not [place for place in canaries.found_in(found) if not place.startswith(PLANTED)]
    for form in (canaries[PLANTED], json.dumps(canaries[PLANTED])):
        assert canaries.found_in({"a log": f"a line with {form} in it"})
