"""Wiring of the order role: a queue of intents per account and symbol, one handler behind them all."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from breakwater_core.config_schedule import symbols_of
from breakwater_runtime.bus import Bus
from breakwater_runtime.config_versions import ConfigWatch, follow_config, read_config_state
from breakwater_runtime.control import ControlStore, ControlWatch, watch_acknowledgements, watch_control
from breakwater_runtime.logs import get_logger
from breakwater_runtime.readers import LAST_PER_SUBJECT, read_stream
from breakwater_runtime.service import Service, until_stopped
from breakwater_runtime.subjects import INTENT_STREAM
from executor_service.acknowledger import Acknowledger
from executor_service.bus_away import BusAway
from executor_service.bus_publisher import BusPublisher
from executor_service.bybit_account import BybitAccount
from executor_service.day_open_store import DayOpenStore
from executor_service.drain import Drain
from executor_service.egress_guard import guard_of
from executor_service.entry_check import EntryCheck, Obstacle, no_obstacle
from executor_service.entry_flights import EntryFlights
from executor_service.entry_gate import BarredGate, control_gate
from executor_service.entry_run import EntryRun
from executor_service.exchange_clients import ExchangeClients
from executor_service.exit_schedule import ExitSchedule
from executor_service.fitness import fitness_of
from executor_service.flatten_book import FlattenBook
from executor_service.flatten_run import FlattenTools
from executor_service.flatten_watch import FlattenWatch
from executor_service.intent_handler import IntentHandler
from executor_service.intent_queues import IntentQueues
from executor_service.intent_rules import IntentRules
from executor_service.key_rotation import keys_followed
from executor_service.order_follower import OrderFollower
from executor_service.order_life import Patience
from executor_service.position_places import PositionPlaces
from executor_service.record_store import RecordStore
from executor_service.reduction_run import ReductionRun
from executor_service.right_of_way import RightOfWay
from executor_service.settings import ExecutorSettings
from executor_service.slots import PrioritySlots
from executor_service.universe import Universe
from executor_service.venue_clock import VenueClock

_EVENT_SETTLE_S = 1.0
"""In event mode a request is either at the exchange or was never sent."""
_DRAIN_SHARE = 0.7
"""Share of the drain time after which an order on its way is left to redelivery."""


def patiences(settings: ExecutorSettings) -> tuple[Patience, Patience]:
    """Return how long an entry's order and an exit's order are waited for.

    An exit's order of which nothing is learned is left as soon as it has settled: the exit goes on with the position.
    """
    if settings.is_event_time:
        entry = Patience(settle_s=_EVENT_SETTLE_S)
        return entry, replace(entry, settles_before_resend=False)
    entry = Patience(settle_s=settings.settle_s, give_up_s=settings.unknown_limit_s)
    return entry, replace(entry, settles_before_resend=False, give_up_s=settings.settle_s)


def build_handler(
    settings: ExecutorSettings,
    bus: Bus,
    accounts: dict[str, BybitAccount],
    control: ControlWatch,
    flights: EntryFlights,
    drain: Drain,
    *,
    obstacle: Obstacle = no_obstacle,
    bar: Obstacle = no_obstacle,
    versions: ConfigWatch,
) -> IntentHandler:
    """Return the handler of intents, with all that it needs.

    `obstacle` tells why an account may not enter; `bar` the same once more before each sending; `versions` what an
    intent was decided under.
    """
    clock = VenueClock(settings.clock)
    publisher = BusPublisher(bus)
    slots = PrioritySlots(settings.concurrency)
    configuration = settings.configuration()
    rules = IntentRules(configuration, versions)
    schedule = ExitSchedule(
        session=configuration.session.session(),
        symbols=tuple(configuration.portfolio.symbols),
        spread_s=settings.exit_spread_s,
        flat_deadline_s=settings.flat_deadline_s,
        rules_of=rules.of_day,
    )
    entry_patience, exit_patience = patiences(settings)
    right_of_way = RightOfWay()
    follower = OrderFollower(
        publisher=publisher,
        clock=clock,
        drain=drain,
        gate=BarredGate(control_gate(ControlStore(bus), clock), bar),
        flights=flights,
        entry_patience=entry_patience,
        exit_patience=exit_patience,
        unknown_alert_s=settings.unknown_alert_s,
        right_of_way=right_of_way,
        schedule=schedule,
    )
    check = EntryCheck(
        risk=configuration.risk,
        control=control,
        day_opens=DayOpenStore(bus, drain),
        clock=clock,
        drain=drain,
        publisher=publisher,
        places=PositionPlaces(bus),
        obstacle=obstacle,
        limits_of=rules.limits,
    )
    return IntentHandler(
        accounts=accounts,
        records=RecordStore(bus),
        publisher=publisher,
        entries=EntryRun(check=check, follower=follower, slots=slots, clock=clock, drain=drain),
        reductions=ReductionRun(
            follower=follower, slots=slots, clock=clock, drain=drain, schedule=schedule, right_of_way=right_of_way
        ),
        drain=drain,
    )


async def run_order_role(settings: ExecutorSettings, service: Service, clients: ExchangeClients, drain: Drain) -> None:
    """Turn intents into orders until the service stops, then drain.

    Raises:
        PreflightError: If the exchange refuses a key; in a replay, if an account must not be traded as it is.
        DependencyError: If the exchange is not reachable.
    """
    bus, flights = service.bus, EntryFlights()
    accounts = {name: BybitAccount(client) for name, client in clients.items()}
    versions = await read_config_state(bus, settings.configuration())
    symbols = symbols_of(await versions.running_configs())
    fitness = fitness_of(settings, service, clients, symbols=symbols, leverage=settings.margin_leverage)
    guard = guard_of(settings, service, clients)

    async def examine() -> bool:
        await guard.look()
        await fitness.begin()
        await guard.check()
        for name, account in accounts.items():
            if fitness.obstacle(name) is None:
                await account.load_instruments(symbols)
        return True

    if not await until_stopped(service.stop, examine()):
        return
    async with (
        follow_config(bus, versions, name="executor"),
        watch_control(bus, name="executor") as control,
        watch_acknowledgements(bus, name="executor") as acknowledgements,
    ):
        universe = Universe(
            bus,
            versions,
            fitness,
            accounts,
            traded=settings.configuration().portfolio.accounts,
            symbols=symbols,
            retry_s=settings.preflight_retry_s,
        )
        handler = build_handler(
            settings,
            bus,
            accounts,
            control,
            flights,
            drain,
            obstacle=lambda account: guard.refusal(account) or fitness.refusal(account),
            bar=guard.refusal,
            versions=versions,
        )
        flattens = FlattenWatch(
            control,
            acknowledgements,
            flights,
            accounts=accounts,
            tools=FlattenTools(
                run_id=bus.run_id,
                instance=settings.instance,
                handler=handler,
                records=RecordStore(bus),
                book=FlattenBook(bus),
                publisher=BusPublisher(bus),
                drain=drain,
                session=settings.configuration().session.session(),
                symbols=universe.symbols,
                deadline_s=settings.flatten_deadline_s,
            ),
            settle_s=_settle_s(settings),
        )
        acknowledger = Acknowledger(bus, control, flights, instance=settings.instance, accounts=tuple(accounts))
        await until_stopped(service.stop, acknowledger.begin())
        async with fitness.watched(), keys_followed(settings, clients, fitness):
            watches = [flattens.run, BusAway(bus).run, universe.run, guard.run]
            await _work(settings, service, handler, drain, watches, universe, acknowledger)


def _settle_s(settings: ExecutorSettings) -> float:
    return _EVENT_SETTLE_S if settings.is_event_time else settings.settle_s


async def _work(
    settings: ExecutorSettings,
    service: Service,
    handler: IntentHandler,
    drain: Drain,
    watches: Sequence[Callable[[asyncio.Event], Coroutine[Any, Any, None]]],
    universe: Universe,
    acknowledger: Acknowledger,
) -> None:
    """Consume intents and keep the watches until the service stops, then let what is on its way come to its end.

    The acknowledgement is taken back after that: until then entries of this process may be on their way.
    """
    loop, idle = asyncio.get_running_loop(), asyncio.Event()

    def begin_to_drain() -> None:
        loop.call_later(settings.drain_timeout_s * _DRAIN_SHARE, drain.due.set)
        deadline.reschedule(loop.time() + settings.drain_timeout_s)

    try:
        async with asyncio.timeout(None) as deadline, asyncio.TaskGroup() as acknowledging:
            acknowledging.create_task(acknowledger.run(idle), name="acknowledge")
            async with asyncio.TaskGroup() as tasks:
                for watch in watches:
                    tasks.create_task(watch(service.stop), name="watch")
                queues = IntentQueues(
                    service.bus, handler.receive, ack_wait_s=settings.ack_wait_s, tasks=tasks, stop=service.stop
                )
                universe.listen_with(queues.open)
                async with read_stream(
                    service.bus,
                    name="executor-intents",
                    stream=INTENT_STREAM.name,
                    filters=[f"{INTENT_STREAM.name.lower()}.>"],
                    start=LAST_PER_SUBJECT,
                    handle=queues.hear,
                ):
                    await until_stopped(service.stop, queues.attached())
                    service.health.hold("exchange")
                    await service.stop.wait()
                    begin_to_drain()
            idle.set()
    except TimeoutError:
        get_logger().warning("intents_left", reason="the drain time is up; their records tell where to go on")
