"""Wiring of the order role: a consumer per partition of the intents, one handler behind them all."""

import asyncio

from breakwater_bybit.client import BybitClient
from breakwater_runtime.bus import Bus
from breakwater_runtime.consumers import ConsumerSpecification, PullConsumer
from breakwater_runtime.logs import get_logger
from breakwater_runtime.readers import LAST_PER_SUBJECT, read_stream
from breakwater_runtime.service import Service
from breakwater_runtime.subjects import CONTROL_BUCKET, INTENT_PARTITIONS, INTENT_STREAM
from executor_service.alarm import SERVICE
from executor_service.bus_publisher import BusPublisher
from executor_service.bybit_account import BybitAccount
from executor_service.control_state import CONTROL_KEY, ControlWatch
from executor_service.day_open_store import DayOpenStore
from executor_service.drain import Drain
from executor_service.entry_check import EntryCheck, Obstacle, no_obstacle
from executor_service.entry_run import EntryRun
from executor_service.fitness import fitness_of
from executor_service.intent_handler import IntentHandler
from executor_service.order_follower import OrderFollower
from executor_service.order_life import Patience
from executor_service.record_store import RecordStore
from executor_service.reduction_run import ReductionRun
from executor_service.settings import ExecutorSettings
from executor_service.slots import PrioritySlots
from executor_service.venue_clock import VenueClock

_EVENT_SETTLE_S = 1.0
"""In event mode a request is either at the exchange or was never sent."""
_DRAIN_SHARE = 0.7
"""Share of the drain time after which an order on its way is left to redelivery."""


def consumer_specification(partition: int, ack_wait_s: float) -> ConsumerSpecification:
    """Return the consumer of one partition: one intent at a time over all executors, and never put aside."""
    return ConsumerSpecification(
        stream=INTENT_STREAM.name,
        durable=f"executor-{partition}",
        filters=(f"intent.{partition}.>",),
        batch=1,
        max_in_flight=1,
        ack_wait_s=ack_wait_s,
        max_deliveries=0,
    )


def build_handler(
    settings: ExecutorSettings,
    bus: Bus,
    accounts: dict[str, BybitAccount],
    control: ControlWatch,
    drain: Drain,
    *,
    obstacle: Obstacle = no_obstacle,
) -> IntentHandler:
    """Return the handler of intents, with all that it needs; `obstacle` tells why an account may not enter."""
    clock = VenueClock(settings.clock)
    publisher = BusPublisher(bus)
    slots = PrioritySlots(settings.concurrency)
    settle_s = _EVENT_SETTLE_S if clock.is_event_time else settings.settle_s
    follower = OrderFollower(
        publisher=publisher,
        clock=clock,
        drain=drain,
        entry_patience=Patience(settle_s=settle_s, give_up_s=None if clock.is_event_time else settings.unknown_limit_s),
        exit_patience=Patience(settle_s=settle_s),
        unknown_alert_s=settings.unknown_alert_s,
    )
    check = EntryCheck(
        risk=settings.configuration().risk,
        control=control,
        day_opens=DayOpenStore(bus, drain),
        clock=clock,
        drain=drain,
        obstacle=obstacle,
    )
    return IntentHandler(
        accounts=accounts,
        records=RecordStore(bus),
        publisher=publisher,
        entries=EntryRun(check=check, follower=follower, slots=slots, clock=clock, drain=drain),
        reductions=ReductionRun(
            follower=follower, slots=slots, clock=clock, drain=drain, flat_deadline_s=settings.flat_deadline_s
        ),
        drain=drain,
    )


async def run_order_role(
    settings: ExecutorSettings, service: Service, clients: dict[str, BybitClient], drain: Drain
) -> None:
    """Turn intents into orders until the service stops, then drain.

    Raises:
        PreflightError: If the exchange refuses a key; in a replay, if an account must not be traded as it is.
        DependencyError: If the exchange is not reachable.
    """
    symbols = settings.configuration().portfolio.symbols
    accounts = {name: BybitAccount(client) for name, client in clients.items()}
    fitness = fitness_of(settings, service, clients, leverage=settings.margin_leverage)
    await fitness.begin()
    for name, account in accounts.items():
        if fitness.obstacle(name) is None:
            await account.load_instruments(symbols)
    control = ControlWatch()
    async with read_stream(
        service.bus,
        name="executor-control",
        stream=f"KV_{CONTROL_BUCKET}",
        filters=[f"$KV.{CONTROL_BUCKET}.{CONTROL_KEY}"],
        start=LAST_PER_SUBJECT,
        handle=control.handle,
    ):
        await _begin_control(service, control)
        handler = build_handler(settings, service.bus, accounts, control, drain, obstacle=fitness.obstacle)
        service.health.hold("exchange")
        async with fitness.watched():
            await _consume(settings, service, handler, drain)


async def _begin_control(service: Service, control: ControlWatch) -> None:
    """Know the control state before the first intent: a halt must not be missed while the reader starts."""
    value = await service.bus.read(CONTROL_BUCKET, CONTROL_KEY)
    if value is not None:
        control.take(value)


async def _consume(settings: ExecutorSettings, service: Service, handler: IntentHandler, drain: Drain) -> None:
    consumers = [
        PullConsumer(
            service.bus,
            consumer_specification(partition, settings.ack_wait_s),
            handler.receive,
            service=SERVICE,
        )
        for partition in range(INTENT_PARTITIONS)
    ]
    try:
        async with asyncio.timeout(None) as deadline, asyncio.TaskGroup() as tasks:
            for partition, consumer in enumerate(consumers):
                tasks.create_task(consumer.run(service.stop), name=f"partition-{partition}")
            await service.stop.wait()
            loop = asyncio.get_running_loop()
            loop.call_later(settings.drain_timeout_s * _DRAIN_SHARE, drain.due.set)
            deadline.reschedule(loop.time() + settings.drain_timeout_s)
    except TimeoutError:
        get_logger().warning("intents_left", reason="the drain time is up; their records tell where to go on")
