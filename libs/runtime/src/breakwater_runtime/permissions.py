"""Which NATS user may publish, read and write what; `deploy/k8s/files/authorization.conf` is written from it.

Least privilege, and nothing by default: a user has its event subjects, its prefixes of the key-value buckets, what
JetStream's API needs to read its streams, and answers under an inbox prefix of its own. Accounts, symbols, runs and
instances stand in single tokens of the subjects, so none of them need be known here.

Nobody has `$JS.API.DIRECT.GET`: the server sends its answer, with a stored message's payload, to whatever subject the
asker names as the reply. So whoever may publish alerts could have one of them stored as an intent (ADR 0016).

`python -m breakwater_runtime.permissions` prints the configuration, `--check FILE` compares it with a file, `--table`
prints who may what for docs/bus-security.md.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from breakwater_runtime import subjects
from breakwater_runtime.subjects import (
    ACCOUNT_BUCKET,
    ACCOUNT_STREAM,
    ALERT_STREAM,
    BUDGET_BUCKET,
    CHECKPOINT_BUCKET,
    CONFIG_BUCKET,
    CONTROL_BUCKET,
    CONTROL_KEY,
    DEAD_STREAM,
    FILL_STREAM,
    INTENT_STREAM,
    INTENTS_BUCKET,
    MARKET_STREAM,
    NOTIFIED_BUCKET,
    ORDER_STREAM,
    PERFORMANCE_STREAM,
)

SETUP = "setup"
OPERATOR = "operator"
PASSWORD_VARIABLE = "BREAKWATER_NATS_PASSWORD_"  # noqa: S105  # beginning of a name
_SEVERITIES = ("info", "warning", "critical")
_SEVERITY = re.compile(rf"^alert\.(?:{'|'.join(_SEVERITIES)})\.")


@dataclass(frozen=True, slots=True)
class Pull:
    """Durable consumers that a user takes messages from.

    Attributes:
        stream: Stream of the consumers.
        filters: The one filter that such a consumer may have; several: the consumer may have any.
        live: Names of those of the live run, which no other user may touch.
    """

    stream: str
    filters: tuple[str, ...]
    live: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rights:
    """What one NATS user may do.

    Attributes:
        user: Its name.
        publishes: Event subjects.
        writes: Bucket and key pattern of each entry that it may set.
        follows: Streams that it reads in order by consumers of its own, from anywhere in them.
        gets: Streams of which it reads single messages.
        pulls: Durable consumers that it takes messages from.
        api: Further subjects of JetStream's API, without their `$JS.API.`.
    """

    user: str
    publishes: tuple[str, ...] = ()
    writes: tuple[tuple[str, str], ...] = ()
    follows: tuple[str, ...] = ()
    gets: tuple[str, ...] = ()
    pulls: tuple[Pull, ...] = ()
    api: tuple[str, ...] = ()


def _alerts(service: str) -> tuple[str, ...]:
    return tuple(f"alert.{severity}.{service}" for severity in _SEVERITIES)


def _dead(*streams: str) -> tuple[str, ...]:
    return tuple(f"dead.{stream}.*" for stream in streams)


def _bucket(name: str) -> str:
    return f"KV_{name}"


_CLOCK = "md.clock.>"
_ORDERS = "order.>"
_FILLS = "fill.>"
_ACCOUNTS = "account.>"
_PERFORMANCE = "performance.>"
_ALERTS = "alert.>"

ALL_RIGHTS = (
    Rights(
        "market-data",
        publishes=("md.trades.*.*", "md.bars.1d.*.*", "md.clock.*", *_alerts("market-data")),
        writes=((CHECKPOINT_BUCKET, "progress.*.market-data"), (BUDGET_BUCKET, "*.address")),
        follows=(_bucket(CHECKPOINT_BUCKET), _bucket(BUDGET_BUCKET), _bucket(CONFIG_BUCKET)),
        gets=(MARKET_STREAM.name,),
    ),
    Rights(
        "signal",
        publishes=("intent.*.*.*", *_alerts("signal"), *_dead(MARKET_STREAM.name, ORDER_STREAM.name)),
        writes=(
            (CHECKPOINT_BUCKET, "progress.*.signal"),
            (CHECKPOINT_BUCKET, "signal.*.*"),
            (CONFIG_BUCKET, "version.*"),
            (CONFIG_BUCKET, "day.*.*"),
            (CONFIG_BUCKET, "seen.*.*"),
        ),
        follows=(MARKET_STREAM.name, ORDER_STREAM.name, _bucket(CONTROL_BUCKET), _bucket(CONFIG_BUCKET)),
        gets=(_bucket(CHECKPOINT_BUCKET),),
        # it tells an autoscaler how many intents wait
        api=(f"CONSUMER.LIST.{INTENT_STREAM.name}", f"STREAM.INFO.{INTENT_STREAM.name}"),
    ),
    Rights(
        "executor-order",
        publishes=("order.*.*", *_alerts("executor"), *_dead(INTENT_STREAM.name)),
        writes=(
            (INTENTS_BUCKET, "*"),
            (ACCOUNT_BUCKET, "places.*.*"),
            (CONTROL_BUCKET, f"{subjects.SEEN_PREFIX}*.*"),
            (CONTROL_BUCKET, "flatten.*.*.*"),
            (CONTROL_BUCKET, "flat.>"),
            (BUDGET_BUCKET, ">"),
        ),
        follows=(
            INTENT_STREAM.name,
            _bucket(CONTROL_BUCKET),
            _bucket(CONFIG_BUCKET),
            _bucket(ACCOUNT_BUCKET),
            _bucket(BUDGET_BUCKET),
        ),
        gets=(_bucket(INTENTS_BUCKET),),
        pulls=(Pull(INTENT_STREAM.name, ("intent.>",)),),
    ),
    Rights(
        "executor-account",
        publishes=("fill.*.*", "account.*", *_alerts("executor")),
        writes=(
            (CHECKPOINT_BUCKET, "progress.*.account"),
            (ACCOUNT_BUCKET, "day_open.*.*.*"),
            (ACCOUNT_BUCKET, "cursor.*.*"),
            (ACCOUNT_BUCKET, "closing.*.*.*"),
            (ACCOUNT_BUCKET, "told.*.*.*"),
            (BUDGET_BUCKET, ">"),
        ),
        follows=(
            MARKET_STREAM.name,
            FILL_STREAM.name,
            _bucket(INTENTS_BUCKET),
            _bucket(ACCOUNT_BUCKET),
            _bucket(BUDGET_BUCKET),
        ),
        gets=(_bucket(CHECKPOINT_BUCKET),),
    ),
    Rights(
        "reporter",
        publishes=(
            "performance.*",
            "performance.parity.*",
            *_alerts("reporter"),
            *_dead(ORDER_STREAM.name, FILL_STREAM.name, ACCOUNT_STREAM.name, ALERT_STREAM.name, MARKET_STREAM.name),
        ),
        follows=(_bucket(CONFIG_BUCKET),),
        pulls=(
            Pull(ORDER_STREAM.name, (_ORDERS,), ("reporter-live-orders",)),
            Pull(FILL_STREAM.name, (_FILLS,), ("reporter-live-fills",)),
            Pull(ACCOUNT_STREAM.name, (_ACCOUNTS,), ("reporter-live-accounts",)),
            Pull(ALERT_STREAM.name, (_ALERTS,), ("reporter-live-alerts",)),
            Pull(MARKET_STREAM.name, (_CLOCK,), ("reporter-live-clock",)),
        ),
        api=("INFO", "STREAM.LIST", "STREAM.INFO.*", "CONSUMER.LIST.*"),  # it exports the bus's own metrics
    ),
    Rights(
        "notifier",
        publishes=(
            *_alerts("notifier"),
            *_dead(ORDER_STREAM.name, FILL_STREAM.name, PERFORMANCE_STREAM.name, ALERT_STREAM.name),
        ),
        writes=((NOTIFIED_BUCKET, "event.*"), (NOTIFIED_BUCKET, "message.*")),
        gets=(_bucket(NOTIFIED_BUCKET),),
        pulls=(
            Pull(ORDER_STREAM.name, (_ORDERS,), ("notifier-order",)),
            Pull(FILL_STREAM.name, (_FILLS,), ("notifier-fill",)),
            Pull(PERFORMANCE_STREAM.name, (_PERFORMANCE,), ("notifier-performance",)),
            Pull(
                ALERT_STREAM.name,
                ("alert.critical.>", "alert.warning.>", "alert.info.>"),
                ("notifier-alert", "notifier-alert-critical"),
            ),
        ),
    ),
    Rights(
        "paper-exchange",
        publishes=_alerts("paper-exchange"),
        follows=(MARKET_STREAM.name,),
    ),
    Rights(
        OPERATOR,
        # what was put aside is played again on its own subject: of every stream but MD and INTENT
        publishes=("order.*.*", "fill.*.*", "account.*", "performance.*", "performance.parity.*", "alert.*.*"),
        writes=((CONTROL_BUCKET, CONTROL_KEY), (CONFIG_BUCKET, "version.*"), (CONFIG_BUCKET, "schedule.*")),
        follows=(_bucket(CHECKPOINT_BUCKET), _bucket(CONTROL_BUCKET), _bucket(CONFIG_BUCKET)),
        gets=(MARKET_STREAM.name, DEAD_STREAM.name),
        api=("STREAM.INFO.*", f"STREAM.MSG.DELETE.{DEAD_STREAM.name}", "CONSUMER.LIST.*", "CONSUMER.INFO.*.*"),
    ),
    Rights(
        SETUP,
        api=(
            "INFO",
            "STREAM.INFO.*",
            *(f"STREAM.CREATE.{stream.name}" for stream in subjects.STREAMS),
            *(f"STREAM.CREATE.{_bucket(bucket)}" for bucket in subjects.BUCKETS),
        ),
    ),
)
USERS = tuple(rights.user for rights in ALL_RIGHTS)


@dataclass(frozen=True, slots=True)
class Permissions:
    """What the server lets a user do: subjects that it may publish, less those denied, and that it may subscribe."""

    publish: tuple[str, ...]
    denied: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_prefix(user: str | None) -> str:
    """Return the prefix under which a user is answered; without a user it is the common one."""
    return f"_INBOX.{user}" if user else "_INBOX"


def permissions_of(rights: Rights) -> Permissions:
    """Return the subjects that follow from a user's rights."""
    publish = [
        *rights.publishes,
        *(f"$KV.{bucket}.{pattern}" for bucket, pattern in rights.writes),
        "$JS.API.STREAM.NAMES",
        *(f"$JS.API.{subject}" for subject in rights.api),
    ]
    for stream in (*rights.gets, *rights.follows):
        publish += [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.STREAM.MSG.GET.{stream}"]
    for stream in rights.follows:
        publish += [
            f"$JS.API.CONSUMER.CREATE.{stream}.>",
            f"$JS.API.CONSUMER.DELETE.{stream}.*",
            f"$JS.FC.{stream}.>",  # answers to the server's flow control
        ]
    for pull in rights.pulls:
        publish += [
            *_creations(pull),
            f"$JS.API.CONSUMER.MSG.NEXT.{pull.stream}.*",
            f"$JS.ACK.{pull.stream}.*.>",
        ]
    return Permissions(tuple(dict.fromkeys(publish)), tuple(_denials(rights)), (f"{inbox_prefix(rights.user)}.>",))


def _creations(pull: Pull) -> Sequence[str]:
    """Return the subjects that create its consumers.

    A consumer with one filter has it in the subject, which is what ties a user to it; one with several has not.
    """
    created = f"$JS.API.CONSUMER.CREATE.{pull.stream}.*"
    return [f"{created}.{one}" for one in pull.filters] if len(pull.filters) == 1 else [created, f"{created}.>"]


def _denials(rights: Rights) -> Iterator[str]:
    """Yield what keeps a user's hands off the durable consumers of others on the streams that it reads."""
    streams = {*rights.follows, *(pull.stream for pull in rights.pulls)}
    for other in ALL_RIGHTS:
        for pull in other.pulls if other.user != rights.user else ():
            for name in pull.live if pull.stream in streams else ():
                for verb in ("CREATE", "DELETE", "MSG.NEXT"):
                    yield f"$JS.API.CONSUMER.{verb}.{pull.stream}.{name}"
                yield f"$JS.API.CONSUMER.CREATE.{pull.stream}.{name}.>"
                yield f"$JS.ACK.{pull.stream}.{name}.>"


def password_variable(user: str) -> str:
    """Return the variable of the server's configuration, or of its environment, that holds a user's password."""
    return PASSWORD_VARIABLE + user.upper().replace("-", "_")


def render() -> str:
    """Return `authorization.conf`, to be included in the server's configuration."""
    lines = [
        "# Made from breakwater_runtime.permissions by `make nats-permissions`; not edited by hand.",
        '# Each password is a variable: of an included file (NAME: "value"), or of the environment, where it must',
        "# begin with a letter, or the server may take it for a number. docs/bus-security.md tells who may what.",
        "authorization {",
        "  timeout: 5",
        "  users = [",
    ]
    for rights in ALL_RIGHTS:
        permissions = permissions_of(rights)
        denied = [f"deny: {_list(permissions.denied, 10)}"] if permissions.denied else []
        lines += [
            "    {",
            f'      user: "{rights.user}"',
            f"      password: ${password_variable(rights.user)}",
            '      allowed_connection_types: ["STANDARD"]',
            "      permissions: {",
            "        publish: {",
            f"          allow: {_list(permissions.publish, 10)}",
            *(f"          {line}" for line in denied),
            "        }",
            f'        subscribe: {{ allow: ["{permissions.subscribe[0]}"] }}',
            "      }",
            "    }",
        ]
    return "\n".join([*lines, "  ]", "}"]) + "\n"


def _list(values: Sequence[str], indent: int) -> str:
    inner = "".join(f'{" " * indent}  "{value}"\n' for value in values)
    return f"[\n{inner}{' ' * indent}]"


def table() -> str:
    """Return who may what as a Markdown table, for docs/bus-security.md."""
    lines = [
        "| user | publishes | sets keys | reads in order | looks up | takes messages of |",
        "|---|---|---|---|---|---|",
    ]
    for rights in ALL_RIGHTS:
        cells = [
            _code(_shortened(rights.publishes)),
            _code(f"{bucket}: {pattern}" for bucket, pattern in rights.writes),
            _code(rights.follows),
            _code(rights.gets),
            _code(f"{pull.stream}: {', '.join(pull.filters)}" for pull in rights.pulls),
        ]
        lines.append(f"| **{rights.user}** | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shortened(subjects_: Sequence[str]) -> list[str]:
    """Return the subjects with those that differ in the severity alone as one."""
    return list(dict.fromkeys(_SEVERITY.sub("alert.<severity>.", subject) for subject in subjects_))


def _code(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def main(arguments: Sequence[str]) -> int:
    """Print the configuration, or with `--table` who may what; with `--check FILE` return 1 if the file differs."""
    if arguments == ["--table"]:
        sys.stdout.write(table())
        return 0
    if arguments[:1] == ["--check"] and len(arguments) == 2:  # the option and its file
        path = Path(arguments[1])
        if path.read_text(encoding="utf-8") != render():
            sys.stderr.write(f"{path} is not what breakwater_runtime.permissions gives: make nats-permissions\n")
            return 1
        sys.stdout.write(f"{path} matches breakwater_runtime.permissions\n")
        return 0
    if arguments:
        sys.stderr.write("usage: python -m breakwater_runtime.permissions [--check FILE | --table]\n")
        return 2
    sys.stdout.write(render())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
