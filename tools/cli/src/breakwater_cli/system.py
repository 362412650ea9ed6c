"""Which processes make up a system, and the environment of each: replay, and real time against the paper exchange."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from breakwater_cli.nats_process import free_port
from breakwater_cli.processes import ProcessSpecification
from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import LIVE_RUN_ID

PAPER_KEY = "paper-key"
PAPER_SECRET = "paper-secret"  # noqa: S105  # of an exchange that exists only on this machine


@dataclass(frozen=True)
class SystemPlan:
    """What the processes of one run share.

    Attributes:
        run_id: `live` or the id of the replay.
        nats_url: Where NATS listens.
        config_path: The configuration, written out.
        config: The same, read.
        database_url: Where the reporter keeps its books.
        directory: Results and logs of the run.
        recordings: Sources of the recording.
        passwords: Folder with a file for the password of each NATS user; None: the bus has no users.
    """

    run_id: str
    nats_url: str
    config_path: Path
    config: BreakwaterConfig
    database_url: str
    directory: Path
    recordings: tuple[str, ...] = ()
    passwords: Path | None = None
    executors: int = 1
    signals: int = 1
    log_level: str = "info"
    drain_timeout_s: float = 8.0
    exchange_port: int = field(default_factory=free_port)

    @property
    def exchange_url(self) -> str:
        """REST address of the paper exchange."""
        return f"http://127.0.0.1:{self.exchange_port}"

    @property
    def stream_url(self) -> str:
        """WebSocket address of the paper exchange."""
        return f"ws://127.0.0.1:{self.exchange_port}"

    @property
    def replayed(self) -> bool:
        """Whether the clock is that of a recording."""
        return self.run_id != LIVE_RUN_ID

    def _process(
        self,
        name: str,
        module: str,
        prefix: str,
        values: Mapping[str, str],
        *,
        user: str,
        http_port: int | None = None,
    ) -> ProcessSpecification:
        port = free_port() if http_port is None else http_port
        common = {
            "NATS_URL": self.nats_url,
            "RUN_ID": self.run_id,
            "CONFIG_FILE": str(self.config_path),
            "HTTP_PORT": str(port),
            "LOG_LEVEL": self.log_level,
            "DRAIN_TIMEOUT_S": str(self.drain_timeout_s),
            "INSTANCE": name,
        }
        if self.passwords is not None:
            common |= {"NATS_USER": user, "NATS_PASSWORD_FILE": str(self.passwords / user)}
        environment = {f"{prefix}{key}": value for key, value in (common | dict(values)).items()}
        return ProcessSpecification(name, module, environment, port)

    def paper_exchange(self, extra: Mapping[str, str] | None = None) -> ProcessSpecification:
        """Return the paper exchange; in a replay it takes its prices from the bus."""
        accounts = [
            {
                "name": account,
                "key": account_key(account),
                "secret": account_secret(account),
                "usdt": str(self.config.portfolio.initial_equity),
            }
            for account in self.config.portfolio.accounts
        ]
        values = {"MODE": "replay" if self.replayed else "realtime", "ACCOUNTS": json.dumps(accounts)}
        return self._process(
            "paper-exchange",
            "paper_exchange_service",
            "PAPER_EXCHANGE_",
            values | dict(extra or {}),
            user="paper-exchange",
            http_port=self.exchange_port,
        )

    def market_data(self, values: Mapping[str, str]) -> ProcessSpecification:
        """Return market-data with its mode's settings."""
        return self._process("market-data", "market_data_service", "MARKET_DATA_", values, user="market-data")

    def replay_values(self, *, speed: str, first_day: date, last_day: date) -> dict[str, str]:
        """Return market-data's settings for a replay."""
        return {
            "MODE": "replay",
            "RECORDINGS": json.dumps(list(self.recordings)),
            "SPEED": speed,
            "START": first_day.isoformat(),
            "END": last_day.isoformat(),
        }

    def workers(self) -> list[ProcessSpecification]:
        """Return signal, both roles of the executor, reporter and notifier."""
        return [*self.book_keepers(), *self.executor_processes(), *self.signal_processes()]

    def book_keepers(self) -> list[ProcessSpecification]:
        """Return reporter and notifier."""
        return [
            self._process(
                "reporter", "reporter_service", "REPORTER_", {"DATABASE_URL": self.database_url}, user="reporter"
            ),
            self._process("notifier", "notifier_service", "NOTIFIER_", {}, user="notifier"),
        ]

    def signal_processes(self) -> list[ProcessSpecification]:
        """Return the signal replicas, all hot."""
        return [
            self._process(
                "signal" if number == 1 else f"signal-{number}", "signal_service", "SIGNAL_", {}, user="signal"
            )
            for number in range(1, self.signals + 1)
        ]

    def executor_processes(self) -> list[ProcessSpecification]:
        """Return the executor's account role and its order roles."""
        accounts = [
            {"name": name, "api_key": account_key(name), "api_secret": account_secret(name)}
            for name in self.config.portfolio.accounts
        ]
        exchange = {
            "ACCOUNTS": json.dumps(accounts),
            "EXCHANGE_URL": self.exchange_url,
            "PRIVATE_STREAM_URL": self.stream_url,
            "CLOCK": "event" if self.replayed else "wall",
        }
        executors = [self._executor(f"executor-{number}", "order", exchange) for number in range(1, self.executors + 1)]
        keeper = self._executor("executor-account", "account", exchange)
        return [keeper, *executors]

    def _executor(self, name: str, role: str, exchange: Mapping[str, str]) -> ProcessSpecification:
        return self._process(name, "executor_service", "EXECUTOR_", {**exchange, "ROLE": role}, user=f"executor-{role}")


def account_key(account: str) -> str:
    """Return the API key of a paper account."""
    return f"{PAPER_KEY}-{account}"


def account_secret(account: str) -> str:
    """Return the API secret of a paper account."""
    return f"{PAPER_SECRET}-{account}"
