"""The state of a real bus as metrics: what is ours, by what it does, and nothing of other runs."""

from typing import Any

from prometheus_client import REGISTRY

from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime import subjects
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.readers import LAST_PER_SUBJECT, read_stream
from notifier_service.main import SOURCES, durable_name
from reporter_service import consumers, metrics
from reporter_service.bus_watch import NOTIFIER_CONSUMERS, REPORTER_CONSUMERS, BusWatch

RUN = "test-run"


def shown(name: str, /, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"breakwater_{name}", labels)


async def add_consumer(bus: Bus, stream: str, durable: str, subject: str) -> None:
    config = {"durable_name": durable, "ack_policy": "explicit", "filter_subject": subject}
    await bus.api(f"CONSUMER.CREATE.{stream}.{durable}", {"stream_name": stream, "config": config})


async def test_streams_and_buckets_are_shown_with_their_limits(bus: Bus) -> None:
    for number in range(3):
        await bus.jetstream.publish("order.main.BTCUSDT", b"x" * 1000, headers={"Nats-Msg-Id": str(number)})
    await bus.write(subjects.CONTROL_BUCKET, "state", b"{}")
    await bus.api("STREAM.CREATE.OTHERS", {"name": "OTHERS", "subjects": ["others.>"], "storage": "file"})
    await BusWatch(bus, RUN).poll()
    assert shown("bus_stream_messages", stream="ORDER") == 3
    assert shown("bus_stream_limit_bytes", stream="ORDER") == subjects.ORDER_STREAM.max_bytes
    assert 3000 < (shown("bus_stream_bytes", stream="ORDER") or 0) < 6000
    assert shown("bus_bucket_keys", bucket="control") == 1
    assert shown("bus_bucket_limit_bytes", bucket="control") == subjects.GIBIBYTE // 4
    assert (shown("bus_store_bytes") or 0) > 3000
    assert shown("bus_stream_messages", stream="OTHERS") is None


async def test_consumers_are_shown_by_what_they_do(bus: Bus) -> None:
    metrics.BUS_PENDING.clear()  # of whatever ran in this process before
    for symbol in ("BTCUSDT", "ETHUSDT"):
        await add_consumer(bus, "INTENT", f"executor-main={symbol}", f"intent.*.main.{symbol}")
        await bus.jetstream.publish(f"intent.7.main.{symbol}", b"{}")
    await add_consumer(bus, "FILL", f"reporter-{RUN}-fills", "fill.>")
    await add_consumer(bus, "FILL", "reporter-replay-old-fills", "fill.>")
    await add_consumer(bus, "FILL", f"notifier-fill-{RUN}", "fill.>")
    await bus.jetstream.publish("fill.main.BTCUSDT", b"{}")
    await BusWatch(bus, RUN).poll()
    assert shown("bus_consumer_pending", stream="INTENT", consumer="executor") == 2
    assert shown("bus_consumer_pending", stream="FILL", consumer="reporter-fills") == 1
    assert shown("bus_consumer_pending", stream="FILL", consumer="notifier-fill") == 1
    assert shown("bus_consumer_ack_pending", stream="FILL", consumer="reporter-fills") == 0
    names = {
        sample.labels["consumer"]
        for family in REGISTRY.collect()
        if family.name == "breakwater_bus_consumer_pending"
        for sample in family.samples
    }
    assert names == {"executor", "reporter-fills", "notifier-fill"}


async def test_a_reader_that_has_gone_is_not_shown_any_more(bus: Bus) -> None:
    watch = BusWatch(bus, RUN)
    async with read_stream(
        bus, name="signal-market", stream="MD", filters=["md.>"], start=LAST_PER_SUBJECT, handle=lambda _: None
    ) as reader:
        while (
            not reader._consumer or shown("bus_consumer_pending", stream="MD", consumer="reader-signal-market") is None
        ):
            await watch.poll()
    await watch.poll()
    assert shown("bus_consumer_pending", stream="MD", consumer="reader-signal-market") is None


class _Refusing:
    """A bus that does not answer some requests."""

    def __init__(self, bus: Bus, *refused: str) -> None:
        self.asked: list[str] = []
        self._bus = bus
        self._refused = refused

    async def api(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        self.asked.append(subject)
        if subject in self._refused:
            raise BusError(f"JetStream did not answer {subject}")
        return await self._bus.api(subject, body)


async def test_what_the_bus_does_not_tell_is_counted_and_what_a_user_may_not_ask_is_asked_once(bus: Bus) -> None:
    failed = shown("bus_polls_total", outcome="failed") or 0
    await BusWatch(_Refusing(bus, "STREAM.LIST"), RUN).poll()
    assert shown("bus_polls_total", outcome="failed") == failed + 1
    read = shown("bus_polls_total", outcome="read") or 0
    limited = _Refusing(bus, "INFO")
    watch = BusWatch(limited, RUN)
    await watch.poll()
    await watch.poll()
    assert shown("bus_polls_total", outcome="read") == read + 2
    assert limited.asked.count("INFO") == 1


def test_the_names_are_those_of_reporter_and_notifier() -> None:
    made = [
        consumers.order_consumer(RUN),
        consumers.fill_consumer(RUN),
        consumers.account_consumer(RUN),
        consumers.alert_consumer(RUN),
        consumers.clock_consumer(RUN),
    ]
    watch = BusWatch(_Refusing.__new__(_Refusing), RUN)
    assert {watch._label_of(consumer.durable) for consumer in made} == {
        f"reporter-{name}" for name in REPORTER_CONSUMERS
    }
    for run_id in (RUN, LIVE_RUN_ID):
        labels = BusWatch(_Refusing.__new__(_Refusing), run_id)
        told = {labels._label_of(durable_name(name, run_id)) for _, name, _, _ in SOURCES}
        assert told == {f"notifier-{name}" for name in NOTIFIER_CONSUMERS}


async def test_a_store_that_was_told_of_is_asked_for_again_after_it_was_away(bus: Bus) -> None:
    source = _Refusing(bus)
    watch = BusWatch(source, RUN)
    await watch.poll()
    source._refused = ("INFO",)
    await watch.poll()
    source._refused = ()
    metrics.BUS_STORE_BYTES.set(-1)
    await watch.poll()
    assert shown("bus_store_bytes") != -1
