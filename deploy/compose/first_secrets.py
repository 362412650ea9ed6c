"""Makes the passwords and keys of an installation at its first start, in a folder for each service.

Runs as root with the right to change owners, before everything else, at each start: what exists stays, what is missing
is made. `MASTER` remembers all of it and is mounted by no service.
"""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import BreakwaterError, InvalidInputError
from breakwater_runtime.config_file import read_config
from breakwater_runtime.errors import exit_code_of, explain

OWNER = 10001
"""User and group of the services; NATS runs as it too, and Postgres and Grafana belong to the group."""
MASTER = Path("master/secrets.json")
NATS_USERS = {
    "market-data": "market-data",
    "signal": "signal",
    "executor": "executor-order",
    "executor-account": "executor-account",
    "reporter": "reporter",
    "notifier": "notifier",
    "paper-exchange": "paper-exchange",
    "operator": "operator",
    "setup": "setup",
}
"""Folder of each service, and its user at NATS."""
DATABASE_URL = "postgresql://breakwater:{password}@postgres:5432/breakwater"


def made(known: dict[str, str], config: BreakwaterConfig) -> dict[str, str]:
    """Return the secrets by name: those that are known, and new ones for what is missing."""
    names = [f"nats/{user}" for user in NATS_USERS.values()]
    names += ["postgres", "grafana"]
    names += [f"account/{account}/{part}" for account in config.portfolio.accounts for part in ("key", "secret")]
    return known | {name: secrets.token_hex(24) for name in names if name not in known}


def files(values: dict[str, str], config: BreakwaterConfig, authorization: str) -> dict[str, str]:
    """Return the content of each file by its path, `<service>/<file>`; `authorization` is NATS's, without passwords."""
    accounts = [
        (name, values[f"account/{name}/key"], values[f"account/{name}/secret"]) for name in config.portfolio.accounts
    ]
    equity = str(config.portfolio.initial_equity)
    keys = json.dumps([{"name": name, "api_key": key, "api_secret": secret} for name, key, secret in accounts])
    paper = json.dumps([{"name": name, "key": key, "secret": secret, "usdt": equity} for name, key, secret in accounts])
    content = {f"{folder}/nats_password": values[f"nats/{user}"] for folder, user in NATS_USERS.items()}
    passwords = (
        f'BREAKWATER_NATS_PASSWORD_{user.upper().replace("-", "_")}: "{values[f"nats/{user}"]}"\n'
        for user in NATS_USERS.values()
    )
    content["nats/users.conf"] = "".join(passwords) + authorization  # NATS sees variables of the same file only
    content["postgres/password"] = values["postgres"]
    content["reporter/database_url"] = DATABASE_URL.format(password=values["postgres"])
    content["grafana/admin_password"] = values["grafana"]
    content |= {"executor/accounts.json": keys, "executor-account/accounts.json": keys}
    content["paper-exchange/accounts.json"] = paper
    return content


def write(path: Path, content: str, mode: int) -> None:
    """Write a file whole or not at all, readable by its owner and perhaps its group alone."""
    if path.exists() and path.read_text(encoding="utf-8") == content:
        return
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.chmod(mode)
    scratch.replace(path)


def prepare(root: Path, config: BreakwaterConfig, authorization: str, owner: int = OWNER) -> None:
    """Make what is missing below `root`, which has a folder for each service; `authorization` is NATS's.

    Raises:
        InvalidInputError: If what `MASTER` remembers cannot be read; then nothing is made.
    """
    master = root / MASTER
    master.parent.mkdir(parents=True, exist_ok=True)
    values = made(_remembered(master), config)
    write(master, json.dumps(values), 0o600)
    for name, content in files(values, config, authorization).items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        write(path, content, 0o440)
        os.chown(path, owner, owner)
        path.parent.chmod(0o750)
        os.chown(path.parent, owner, owner)


def _remembered(master: Path) -> dict[str, Any]:
    """Return the secrets of the first start; new ones would lock the services out of the database that has the old."""
    try:
        values: dict[str, Any] = json.loads(master.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise InvalidInputError(
            f"{master} is damaged: put a copy back, or begin anew without the books: docker compose down --volumes"
        ) from None
    return values


def main() -> int:
    """Prepare the folders below the first argument, and hand the folders of the further ones to the services."""
    authorization = Path(os.environ["AUTHORIZATION_FILE"]).read_text(encoding="utf-8")
    try:
        prepare(Path(sys.argv[1]), read_config(Path(os.environ["CONFIG_FILE"])), authorization)
    except BreakwaterError as error:
        sys.stderr.write(f"init: {explain(error)}\n")
        return exit_code_of(error)
    for folder in sys.argv[2:]:
        os.chown(folder, OWNER, OWNER)
    sys.stdout.write("secrets are in place\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
