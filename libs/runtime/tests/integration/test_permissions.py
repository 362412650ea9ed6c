"""Who may do what on the bus, against a real server: every user with every subject, from a table written here by hand.

The table restates docs/messages.md and the picture in docs/architecture.md; it does not use the code that writes
`authorization.conf`. What is not in it must be denied.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from breakwater_cli.nats_process import AUDITOR, NatsProcess
from breakwater_core.errors import InvariantError
from breakwater_core.events import Intent, Leg, Side
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime import codec, permissions
from breakwater_runtime.bus import connect
from breakwater_runtime.codec import DecodeError
from breakwater_runtime.config_versions import ConfigStore
from breakwater_runtime.consumers import ConsumerSpecification, PullConsumer, Received
from breakwater_runtime.control import ControlStore, watch_control
from breakwater_runtime.readers import Delivery, read_stream
from notifier_service.main import SOURCES, durable_name
from reporter_service.consumers import (
    account_consumer,
    alert_consumer,
    clock_consumer,
    fill_consumer,
    order_consumer,
)

ROOT = Path(__file__).parents[4]
MARKET_DATA, SIGNAL, REPORTER, NOTIFIER, PAPER = "market-data", "signal", "reporter", "notifier", "paper-exchange"
ORDER_ROLE, ACCOUNT_ROLE, OPERATOR, SETUP = "executor-order", "executor-account", "operator", "setup"
USERS = (MARKET_DATA, SIGNAL, ORDER_ROLE, ACCOUNT_ROLE, REPORTER, NOTIFIER, PAPER, OPERATOR, SETUP)

EVENTS = {
    "md.trades.bybit.BTCUSDT": {MARKET_DATA},
    "md.bars.1d.bybit.BTCUSDT": {MARKET_DATA},
    "md.clock.bybit": {MARKET_DATA},
    "md.other": set(),
    "intent.0.main.BTCUSDT": {SIGNAL},
    "intent.31.second.ETHUSDT": {SIGNAL},
    "order.main.BTCUSDT": {ORDER_ROLE, OPERATOR},
    "fill.main.BTCUSDT": {ACCOUNT_ROLE, OPERATOR},
    "account.main": {ACCOUNT_ROLE, OPERATOR},
    "performance.main": {REPORTER, OPERATOR},
    "performance.parity.main": {REPORTER, OPERATOR},
    **{
        f"alert.{severity}.{service}": {*owners, OPERATOR}
        for severity in ("info", "warning", "critical")
        for service, owners in {
            MARKET_DATA: {MARKET_DATA},
            SIGNAL: {SIGNAL},
            "executor": {ORDER_ROLE, ACCOUNT_ROLE},
            REPORTER: {REPORTER},
            NOTIFIER: {NOTIFIER},
            PAPER: {PAPER},
        }.items()
    },
    "dead.MD.signal": {SIGNAL, REPORTER},
    "dead.INTENT.executor-main=BTCUSDT": {ORDER_ROLE},
    "dead.ORDER.any": {SIGNAL, REPORTER, NOTIFIER},
    "dead.FILL.any": {REPORTER, NOTIFIER},
    "dead.ACCOUNT.any": {REPORTER},
    "dead.PERFORMANCE.any": {NOTIFIER},
    "dead.ALERT.any": {REPORTER, NOTIFIER},
    "anything.else": set(),
}
"""Subject of an event, and who may publish it; the operator plays dead letters again, but no intent."""

ENTRIES = {
    "checkpoint.progress.live.market-data": {MARKET_DATA},
    "checkpoint.progress.live.signal": {SIGNAL},
    "checkpoint.progress.live.account": {ACCOUNT_ROLE},
    "checkpoint.signal.live.a": {SIGNAL},
    "checkpoint.other": set(),
    "intents.0123abc": {ORDER_ROLE},
    "account.day_open.live.main.2024-01-01": {ACCOUNT_ROLE},
    "account.places.live.main": {ORDER_ROLE},
    "account.cursor.live.main": {ACCOUNT_ROLE},
    "account.closing.live.main.bw-1": {ACCOUNT_ROLE},
    "account.told.live.main.abc": {ACCOUNT_ROLE},
    "control.state": {OPERATOR},
    "control.seen.executor-1.p": {ORDER_ROLE},
    "control.flatten.main.1.live": {ORDER_ROLE},
    "control.flat.main.1": {ORDER_ROLE},
    "control.flat.main.1.replay-x": {ORDER_ROLE},
    "budget.api-bybit-com.address": {MARKET_DATA, ORDER_ROLE, ACCOUNT_ROLE},
    "budget.api-bybit-com.main.order-create": {ORDER_ROLE, ACCOUNT_ROLE},
    "config.version.abc": {SIGNAL, OPERATOR},
    "config.schedule.live": {OPERATOR},
    "config.day.live.2024-01-01": {SIGNAL},
    "config.seen.live.signal-1": {SIGNAL},
    "notified.event.abc": {NOTIFIER},
    "notified.message.abc": {NOTIFIER},
    "another.key": set(),
}
"""Bucket and key, and who may set it."""

STREAMS = (
    *("MD", "INTENT", "ORDER", "FILL", "ACCOUNT", "PERFORMANCE", "ALERT", "DEAD"),
    *(f"KV_{name}" for name in ("checkpoint", "intents", "account", "control", "budget", "config", "notified")),
)
FOLLOWED = {
    "MD": {SIGNAL, ACCOUNT_ROLE, PAPER},
    "INTENT": {ORDER_ROLE},
    "ORDER": {SIGNAL},
    "FILL": {ACCOUNT_ROLE},
    "KV_checkpoint": {MARKET_DATA, OPERATOR},
    "KV_intents": {ACCOUNT_ROLE},
    "KV_account": {ORDER_ROLE, ACCOUNT_ROLE},
    "KV_control": {SIGNAL, ORDER_ROLE, OPERATOR},
    "KV_budget": {MARKET_DATA, ORDER_ROLE, ACCOUNT_ROLE},
    "KV_config": {MARKET_DATA, SIGNAL, ORDER_ROLE, REPORTER, OPERATOR},
}
"""Stream, and who reads it in order, by a consumer of its own."""
LOOKED_UP = {
    "MD": {MARKET_DATA, OPERATOR},
    "DEAD": {OPERATOR},
    "KV_checkpoint": {SIGNAL, ACCOUNT_ROLE},
    "KV_intents": {ORDER_ROLE},
    "KV_notified": {NOTIFIER},
}
"""Stream, and who else reads single messages of it."""
PULLED = {
    "INTENT": {ORDER_ROLE},
    "ORDER": {REPORTER, NOTIFIER},
    "FILL": {REPORTER, NOTIFIER},
    "ACCOUNT": {REPORTER},
    "ALERT": {REPORTER, NOTIFIER},
    "PERFORMANCE": {NOTIFIER},
    "MD": {REPORTER},
}
"""Stream, and who takes messages of it by a durable consumer."""
OWN_DURABLES = {
    REPORTER: {
        "ORDER": ("reporter-live-orders",),
        "FILL": ("reporter-live-fills",),
        "ACCOUNT": ("reporter-live-accounts",),
        "ALERT": ("reporter-live-alerts",),
        "MD": ("reporter-live-clock",),
    },
    NOTIFIER: {
        "ORDER": ("notifier-order",),
        "FILL": ("notifier-fill",),
        "PERFORMANCE": ("notifier-performance",),
        "ALERT": ("notifier-alert", "notifier-alert-critical"),
    },
}
FILTERS = {
    "MD": "md.trades.bybit.BTCUSDT",
    **{name: f"{name.lower()}.>" for name in STREAMS[1:8]},
    **{f"KV_{name}": f"$KV.{name}.>" for name in (one.removeprefix("KV_") for one in STREAMS[8:])},
}


def api_table() -> dict[str, set[str]]:
    """Return each subject of JetStream's API, and who may publish to it."""
    everyone = set(USERS)
    table = {
        "STREAM.NAMES": everyone,
        "STREAM.LIST": {REPORTER},
        "INFO": {SETUP, REPORTER},
        "ACCOUNT.PURGE.x": set(),
        "META.LEADER.STEPDOWN": set(),
        "SERVER.REMOVE": set(),
        "STREAM.CREATE.ANOTHER": set(),
        "STREAM.TEMPLATE.CREATE.x": set(),
    }
    for stream in STREAMS:
        follows = FOLLOWED.get(stream, set())
        reads = follows | LOOKED_UP.get(stream, set())
        pulls = PULLED.get(stream, set())
        narrow = {REPORTER} if stream == "MD" else set()  # the clock, and no other subject
        one_filter = pulls - narrow
        counts = {SIGNAL} if stream == "INTENT" else set()  # what waits there, for an autoscaler
        several_filters = ({NOTIFIER} if stream == "ALERT" else set()) & pulls
        table |= {
            f"STREAM.CREATE.{stream}": {SETUP},
            f"STREAM.UPDATE.{stream}": set(),
            f"STREAM.DELETE.{stream}": set(),
            f"STREAM.PURGE.{stream}": set(),
            f"STREAM.SNAPSHOT.{stream}": set(),
            f"STREAM.RESTORE.{stream}": set(),
            f"STREAM.LEADER.STEPDOWN.{stream}": set(),
            f"STREAM.PEER.REMOVE.{stream}": set(),
            f"STREAM.INFO.{stream}": reads | {SETUP, OPERATOR, REPORTER} | counts,
            f"STREAM.MSG.GET.{stream}": reads,
            f"STREAM.MSG.DELETE.{stream}": {OPERATOR} if stream == "DEAD" else set(),
            f"DIRECT.GET.{stream}": set(),
            f"DIRECT.GET.{stream}.{FILTERS[stream]}": set(),
            f"CONSUMER.CREATE.{stream}": set(),
            f"CONSUMER.CREATE.{stream}.mine": follows | several_filters,
            f"CONSUMER.CREATE.{stream}.mine.{FILTERS[stream]}": follows | one_filter,
            f"CONSUMER.DURABLE.CREATE.{stream}.mine": set(),
            f"CONSUMER.INFO.{stream}.mine": {OPERATOR},
            f"CONSUMER.DELETE.{stream}.mine": follows,
            f"CONSUMER.PAUSE.{stream}.mine": set(),
            f"CONSUMER.LIST.{stream}": {OPERATOR, REPORTER} | counts,
            f"CONSUMER.NAMES.{stream}": set(),
            f"CONSUMER.LEADER.STEPDOWN.{stream}.mine": set(),
            f"CONSUMER.UNPIN.{stream}.mine": set(),
            f"CONSUMER.MSG.NEXT.{stream}.mine": pulls,
        }
    table["CONSUMER.CREATE.MD.mine.md.clock.>"] = FOLLOWED["MD"] | {REPORTER}
    # of notifier and reporter each leaves the other's durable consumers of the live run alone; so do all others
    for owner, streams in OWN_DURABLES.items():
        for stream, names in streams.items():
            for name in names:
                pulls = PULLED[stream] & {owner}
                wide = {owner} if owner == NOTIFIER and stream == "ALERT" else set()
                own_filter = "md.clock.>" if stream == "MD" else FILTERS[stream]
                table |= {
                    f"CONSUMER.CREATE.{stream}.{name}": wide,
                    f"CONSUMER.CREATE.{stream}.{name}.{own_filter}": pulls,
                    f"CONSUMER.DELETE.{stream}.{name}": set(),
                    f"CONSUMER.MSG.NEXT.{stream}.{name}": pulls,
                }
    return {f"$JS.API.{subject}": users for subject, users in table.items()}


def reply_table() -> dict[str, set[str]]:
    """Return the subjects by which a client answers the server."""
    table = {}
    for stream in STREAMS:
        table[f"$JS.ACK.{stream}.mine.1.1.1.1.0"] = PULLED.get(stream, set())
        table[f"$JS.FC.{stream}.mine.abc"] = FOLLOWED.get(stream, set())
    for owner, streams in OWN_DURABLES.items():
        for stream, names in streams.items():
            table |= {f"$JS.ACK.{stream}.{name}.1.1.1.1.0": {owner} for name in names}
    return table


FOREIGN = {
    "$SYS.REQ.SERVER.PING": set(),
    "$SYS.REQ.ACCOUNT.PING.CONNZ": set(),
    "$JS.EVENT.ADVISORY.API": set(),
    "$SRV.PING": set(),
    **{f"_INBOX.{user}.abc.def": set() for user in USERS},
    "_INBOX.abc": set(),
    "_R_.abc": set(),
}
"""What nobody publishes: the system's subjects, and answers to others."""

FOREIGN_SUBSCRIPTIONS = (
    *(">", "*.>", "_INBOX.>", "_INBOX.*.>", "_INBOX.abc", "intent.>", "md.>", "alert.>", "dead.>", "$KV.>"),
    *("$JS.API.>", "$JS.ACK.>", "$JS.EVENT.>", "$KV.control.state", "$SYS.>"),
)
PUBLISHED = EVENTS | {f"$KV.{entry}": users for entry, users in ENTRIES.items()} | api_table() | reply_table() | FOREIGN
SUBSCRIBED = {
    **{f"_INBOX.{user}.>": {user} for user in USERS},
    **{f"_INBOX.{user}.abc.*": {user} for user in USERS},
    **{subject: set() for subject in FOREIGN_SUBSCRIPTIONS},
}


class Violations:
    """What the server denied on one connection."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def note(self, error: Exception) -> None:
        assert "permissions violation" in str(error).lower(), error
        self.subjects.append(str(error).partition('"')[2].partition('"')[0])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsProcess]:
    """A server with the users of this system, its streams made, and a user that may look at everything."""
    process = NatsProcess(tmp_path / "nats", with_users=True, auditor=True)
    process.start()
    try:
        await process.make_streams()
        yield process
    finally:
        process.stop()


@asynccontextmanager
async def connection(server: NatsProcess, user: str, violations: Violations) -> AsyncIterator[Client]:
    """A plain client, without anything of ours between it and the server."""
    assert server.passwords is not None
    client = await nats.connect(
        server.url,
        user=user,
        password=(server.passwords / user).read_text(),
        inbox_prefix=f"_INBOX.{user}",
        error_cb=violations.note,
        allow_reconnect=False,
    )
    try:
        yield client
    finally:
        await client.close()


async def answered(client: Client) -> None:
    """Return once the server has dealt with everything that was sent before: what it denies it says at once.

    `flush` would not do: nats-py sends its ping ahead of what waits to be sent.
    """
    await client.request("$JS.API.STREAM.NAMES", b"", timeout=30)


def allowed(table: dict[str, set[str]], user: str) -> set[str]:
    return {subject for subject, users in table.items() if user in users}


async def test_each_user_publishes_what_the_table_lists_and_nothing_else(server: NatsProcess) -> None:
    for user in USERS:
        violations = Violations()
        async with connection(server, user, violations) as client:
            for subject in PUBLISHED:
                await client.publish(subject)
            await answered(client)
        denied = {subject for subject in PUBLISHED if subject.lower() in violations.subjects}
        assert set(PUBLISHED) - denied == allowed(PUBLISHED, user), user
        assert len(violations.subjects) == len(denied), user


async def test_each_user_hears_its_own_answers_and_nothing_else(server: NatsProcess) -> None:
    for user in USERS:
        violations = Violations()
        async with connection(server, user, violations) as client:
            for subject in SUBSCRIBED:
                await client.subscribe(subject)
            await answered(client)
        denied = {subject for subject in SUBSCRIBED if subject.lower() in violations.subjects}
        assert set(SUBSCRIBED) - denied == allowed(SUBSCRIBED, user), user


async def test_what_a_user_may_publish_is_stored(server: NatsProcess) -> None:
    for user in USERS:
        violations = Violations()
        async with connection(server, user, violations) as client:
            stored = allowed(EVENTS, user) | {f"$KV.{entry}" for entry in allowed(ENTRIES, user)}
            jetstream = client.jetstream()
            await asyncio.gather(*(jetstream.publish(subject, b"x", timeout=10) for subject in stored))
        assert violations.subjects == []


async def test_a_reader_gets_the_messages_of_its_streams(server: NatsProcess) -> None:
    async with connection(server, AUDITOR, Violations()) as auditor:
        jetstream = auditor.jetstream()
        for stream in STREAMS:
            await jetstream.publish(FILTERS[stream].replace(">", "a"), b"x")
    for stream, users in FOLLOWED.items():
        for user in users:
            found: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()

            def take(delivery: Delivery, found: asyncio.Future[Delivery] = found) -> None:
                if not found.done():
                    found.set_result(delivery)

            async with (
                asyncio.timeout(90),
                connect(server.settings(user, "live"), name="test") as bus,
                read_stream(bus, name="test", stream=stream, filters=[FILTERS[stream]], start=1, handle=take),
            ):
                assert (await found).payload == b"x", (stream, user)
                assert bus.client.denied == set(), (stream, user)


async def read_intents(server: NatsProcess) -> list[tuple[str, bytes]]:
    """Return subject and payload of what an executor would be given: what matches `intent.>`."""
    found = []
    async with connection(server, AUDITOR, Violations()) as auditor:
        jetstream = auditor.jetstream()
        state = (await jetstream.stream_info("INTENT")).state
        for sequence in range(state.first_seq, state.last_seq + 1) if state.messages else ():
            message = await jetstream.get_msg("INTENT", sequence)
            if (message.subject or "").startswith("intent."):
                found.append((message.subject or "", message.data or b""))
    return found


async def ask(client: Client, subject: str, body: dict[str, object]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await client.request(subject, json.dumps(body).encode(), timeout=5)).data)
    return answer


async def test_no_stored_message_can_be_turned_into_an_intent(server: NatsProcess) -> None:
    """Whoever may publish something and read it must not have the server deliver it as an intent."""
    violations = Violations()
    async with connection(server, REPORTER, violations) as client:
        await client.jetstream().publish("alert.info.reporter", b"forged", headers={"Nats-Msg-Id": "1"})
        for number, config in enumerate(({}, {"deliver_subject": "intent.0.main.BTCUSDT"})):
            name = f"forger-{number}"
            made = await ask(
                client,
                f"$JS.API.CONSUMER.CREATE.ALERT.{name}.alert.>",
                {
                    "stream_name": "ALERT",
                    "config": {"name": name, "ack_policy": "none", "filter_subject": "alert.>"} | config,
                },
            )
            if "error" not in made:  # it is allowed to read alerts; what counts is where they arrive
                await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.ALERT.{name}", b"1", reply="intent.0.main.BTCUSDT")
        await client.publish("$JS.API.DIRECT.GET.ALERT.alert.info.reporter", b"", reply="intent.0.main.BTCUSDT")
        await client.publish("alert.info.reporter", b"another", reply="intent.0.main.BTCUSDT")
        await answered(client)
    assert violations.subjects == ["$js.api.direct.get.alert.alert.info.reporter"]
    stored = await read_intents(server)
    for subject, payload in stored:
        assert b"forged" not in payload
        with pytest.raises(DecodeError):  # at most the server's own words, which no executor takes for an intent
            codec.decode(subject, payload)


async def test_a_consumer_is_what_the_subject_that_creates_it_says(server: NatsProcess) -> None:
    """Rights are on the subject, so the server must not let the body say something else."""
    allowed_clock = "$JS.API.CONSUMER.CREATE.MD.mine.md.clock.>"
    bodies: tuple[tuple[str, dict[str, object]], ...] = (
        ("MD", {"name": "mine", "filter_subject": "md.>"}),
        ("MD", {"name": "mine", "filter_subjects": ["md.trades.>", "md.clock.>"]}),
        ("MD", {"name": "mine"}),
        ("MD", {"name": "another", "filter_subject": "md.clock.>"}),
        ("MD", {"durable_name": "another", "filter_subject": "md.clock.>"}),
        ("INTENT", {"name": "mine", "filter_subject": "md.clock.>"}),
    )
    async with connection(server, REPORTER, Violations()) as client:
        for stream, config in bodies:
            answer = await ask(
                client, allowed_clock, {"stream_name": stream, "config": {"ack_policy": "none"} | config}
            )
            assert "error" in answer or is_the_clocks(answer), (stream, config)
    async with connection(server, AUDITOR, Violations()) as client:
        assert {info.name for info in await client.jetstream().consumers_info("MD")} <= {"mine"}
        assert await client.jetstream().consumers_info("INTENT") == []


def is_the_clocks(answer: dict[str, Any]) -> bool:
    config = answer["config"]
    made = (answer["stream_name"], answer["name"], config.get("filter_subject"), config.get("filter_subjects"))
    return made == ("MD", "mine", "md.clock.>", None)


async def words_of_the_server_on(server: NatsProcess, *subjects: str) -> None:
    """Have the server say something of its own, without content, on subjects that the asker may not publish to."""
    async with connection(server, REPORTER, Violations()) as client:
        name, subject = "reporter-live-alerts", "$JS.API.CONSUMER.MSG.NEXT.ALERT.reporter-live-alerts"
        config = {"durable_name": name, "ack_policy": "explicit", "filter_subject": "alert.>"}
        body = {"stream_name": "ALERT", "config": config}
        await ask(client, f"$JS.API.CONSUMER.CREATE.ALERT.{name}.alert.>", body)
        for reply in subjects:
            await client.publish(subject, b'{"batch": 1, "no_wait": true}', reply=reply)
            await client.publish(
                subject, b'{"batch": 1, "expires": 150000000, "idle_heartbeat": 50000000}', reply=reply
            )
        await answered(client)


async def stored_under(server: NatsProcess, stream: str, subject: str) -> int:
    async with connection(server, AUDITOR, Violations()) as auditor:
        info = await auditor.jetstream().stream_info(stream, subjects_filter=subject)
        return (info.state.subjects or {}).get(subject, 0)


async def test_an_empty_word_of_the_server_does_not_lift_a_halt(server: NatsProcess) -> None:
    async with asyncio.timeout(90), connect(server.settings(OPERATOR, "live"), name="test") as bus:
        store = ControlStore(bus)
        await store.change(lambda control: control.halt(None, reason="a test"))
        async with watch_control(bus, name="test") as watch:
            known = watch.state
            await words_of_the_server_on(server, "$KV.control.state")
            await watch.wait_for_change(known, 10)
            assert watch.state.everyone.halted
        with pytest.raises(InvariantError, match="cannot be read"):
            await store.read()


async def test_an_empty_word_of_the_server_does_not_take_a_configuration_back(server: NatsProcess) -> None:
    async with asyncio.timeout(90), connect(server.settings(OPERATOR, "live"), name="test") as bus:
        await words_of_the_server_on(server, "$KV.config.schedule.live")
        while not await stored_under(server, "KV_config", "$KV.config.schedule.live"):
            pass
        with pytest.raises(InvariantError, match="nobody has deleted it"):
            await ConfigStore(bus).schedule()


async def test_a_word_of_the_server_among_the_intents_holds_none_up(server: NatsProcess) -> None:
    subject = "intent.0.main.BTCUSDT"
    await words_of_the_server_on(server, subject)
    while not await stored_under(server, "INTENT", subject):
        pass
    taken: list[str] = []
    stop = asyncio.Event()

    async def take(received: Received) -> None:
        taken.append(received.event.intent_id)
        stop.set()

    async with (
        asyncio.timeout(90),
        connect(server.settings(SIGNAL, "live"), name="test") as signal,
        connect(server.settings(ORDER_ROLE, "live"), name="test") as bus,
    ):
        specification = ConsumerSpecification(
            stream="INTENT",
            durable="executor-main=BTCUSDT",
            filters=("intent.*.main.BTCUSDT",),
            max_in_flight=1,
            ack_wait_s=600,
            max_deliveries=0,
        )
        await signal.publish_encoded(replace(codec.encode(an_exit(), "live"), subject=subject))
        await PullConsumer(bus, specification, take, service="executor").run(stop)
        found: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()

        def hear(delivery: Delivery) -> None:
            if delivery.payload and not found.done():
                found.set_result(delivery)

        async with read_stream(bus, name="t", stream="INTENT", filters=["intent.>"], start=1, handle=hear):
            await found
    assert taken == [an_exit().intent_id]


def an_exit() -> Intent:
    return Intent(
        intent_id="live/main/v/BTCUSDT/2024-01-01/exit/0",
        run_id="live",
        account="main",
        strategy_version="v",
        symbol="BTCUSDT",
        day=date(2024, 1, 1),
        leg=Leg.EXIT,
        attempt=0,
        side=Side.SELL,
        target_price=Decimal(1),
        trigger_price=Decimal(1),
        trigger_time_ms=1,
        valid_until_ms=None,
        gross_leverage=Decimal(2),
        portfolio_size=10,
        epoch=0,
    )


async def test_no_header_lets_the_writer_of_one_key_remove_others(server: NatsProcess) -> None:
    async with connection(server, OPERATOR, Violations()) as client:
        await client.jetstream().publish("$KV.control.state", b"halted")
    async with connection(server, ORDER_ROLE, Violations()) as client:
        for word in ("all", "sub"):
            answer = await client.request("$KV.control.seen.a.b", b"", timeout=5, headers={"Nats-Rollup": word})
            assert "error" in json.loads(answer.data)
    async with connection(server, AUDITOR, Violations()) as client:
        message = await client.jetstream().get_last_msg("KV_control", "$KV.control.state")
        assert message.data == b"halted"


def test_the_table_names_every_user_and_every_stream() -> None:
    assert set(USERS) == set(permissions.USERS)
    made = {stream.name for stream in permissions.subjects.STREAMS}
    made |= {f"KV_{bucket}" for bucket in permissions.subjects.BUCKETS}
    assert set(STREAMS) == made


def test_the_documented_table_is_what_the_code_gives() -> None:
    assert permissions.table() in (ROOT / "docs" / "bus-security.md").read_text()


def test_the_durable_consumers_named_here_are_those_of_the_services() -> None:
    made = [make(LIVE_RUN_ID) for make in (order_consumer, fill_consumer, account_consumer, alert_consumer)]
    made.append(clock_consumer(LIVE_RUN_ID))
    reporters = {(one.stream, one.durable) for one in made}
    notifiers = {(stream, durable_name(name, LIVE_RUN_ID)) for _, name, stream, _ in SOURCES}
    for owner, found in ((REPORTER, reporters), (NOTIFIER, notifiers)):
        assert found == {(stream, name) for stream, names in OWN_DURABLES[owner].items() for name in names}


def test_the_committed_configuration_is_what_the_code_gives(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    committed = ROOT / "deploy" / "k8s" / "files" / "authorization.conf"
    assert permissions.main(["--check", str(committed)]) == 0
    other = tmp_path / "authorization.conf"
    other.write_text(committed.read_text().replace('"intent.*.*.*"', '">"'))
    assert permissions.main(["--check", str(other)]) == 1
    assert "make nats-permissions" in capsys.readouterr().err
