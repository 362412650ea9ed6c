"""The whole exchange in one object: engine, gateway, sockets and an HTTP server on one port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import structlog
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.types import Receive, Scope, Send

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.market import Instrument
from breakwater_recordings.instruments import default_instrument, instrument_for, instruments
from breakwater_recordings.selection import first_prices
from breakwater_recordings.sources import open_recording
from breakwater_recordings.synthetic import synthetic_instrument
from breakwater_runtime.health import Health, bind_socket, health_application, serve_application
from breakwater_runtime.secret_rotation import secrets_followed
from paper_exchange_service.abortable import AbortableProtocol
from paper_exchange_service.control import Control
from paper_exchange_service.engine.engine import Engine, InstrumentSource
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.fault_layer import FaultLayer
from paper_exchange_service.fault_rules import NO_RULES, FaultRules
from paper_exchange_service.faults import Faults, NoFaults
from paper_exchange_service.feeder import Feeder
from paper_exchange_service.gateway import Gateway
from paper_exchange_service.http_api import RestApi
from paper_exchange_service.playback import (
    UTC_DAYS,
    Playback,
    play_recording,
    play_synthetic,
)
from paper_exchange_service.private_feed import PrivateFeed
from paper_exchange_service.public_feed import PublicFeed
from paper_exchange_service.rate_limits import RateLimits
from paper_exchange_service.settings import AccountSettings, Mode, PaperExchangeSettings, accounts_of_text
from paper_exchange_service.sockets import Sockets
from paper_exchange_service.venue import RealTimeVenue, ReplayVenue, wall_clock_ms

RETENTION_MS = 900_000
"""Trades that are kept for look-ups behind the clock, milliseconds."""

_KEEP_ALIVE_S = 120
_HEALTH_PATHS = frozenset({"/health", "/ready", "/metrics"})
_log = structlog.get_logger()


@dataclass(frozen=True)
class Options:
    """What an exchange is made of; `options_of` takes it from the settings."""

    mode: Mode = Mode.REAL_TIME
    host: str = "127.0.0.1"
    port: int = 0
    accounts: tuple[AccountSettings, ...] = ()
    instruments: tuple[Instrument, ...] = ()
    costs: Costs = field(default_factory=Costs)
    rate_limits: bool = False
    ip_ban_ms: int = 600_000
    ack_delay_s: float = 0.008
    queue_frames: int = 20_000
    address_limit: int = 600
    endpoint_limits: Mapping[str, int] = field(default_factory=dict)
    fault_rules: FaultRules = NO_RULES
    faults: Faults = field(default_factory=NoFaults)
    """A test's hook, asked before the rules."""
    instrument_source: InstrumentSource = instrument_for
    clock: Callable[[], int] = wall_clock_ms


class PaperExchange:
    """A running exchange: `async with PaperExchange(options, playback) as exchange`.

    Attributes:
        engine: Books and markets.
        venue: Real time or replay; a replay is fed through `replay`.
        faults: What goes wrong, and what it has hit.
        sockets: The open connections.
        health: Says whether requests can be answered.
    """

    def __init__(self, options: Options, playback: Playback | None = None) -> None:
        """Set everything up without listening yet.

        Args:
            options: What it is made of.
            playback: Trades for real time; None in a replay.
        """
        self.options = options
        self.faults = FaultLayer(options.faults, options.fault_rules)
        self.private = PrivateFeed(self.faults)
        self.engine = Engine(
            options.costs,
            instruments=options.instruments,
            instrument_source=options.instrument_source,
            listener=self.private,
            retention_ms=RETENTION_MS,
            order_faults=self.faults,
        )
        self.private.attach(self.engine)
        for account in options.accounts:
            self.engine.add_account(account.name, account.credentials, account.usdt, at_ms=0)
        self.limits = RateLimits(
            enforced=options.rate_limits,
            ban_ms=options.ip_ban_ms,
            address_limit=options.address_limit,
            endpoint_limits=options.endpoint_limits,
        )
        self.venue: RealTimeVenue | ReplayVenue
        self._feeder: Feeder | None = None
        if options.mode is Mode.REPLAY:
            self.venue = ReplayVenue(self.engine)
        else:
            self.venue = RealTimeVenue(self.engine, ack_delay_s=options.ack_delay_s, clock=options.clock)
        self.venue.skew = self.faults.skew_ms
        self.public = PublicFeed(self.engine, self.venue.now_ms, self.faults)
        if playback is not None and isinstance(self.venue, RealTimeVenue):
            self._feeder = Feeder(self.engine, self.venue, self.public, playback, options.clock)
        self.gateway = Gateway(self.venue, self.limits, self.faults)
        self.sockets = Sockets(
            self.gateway,
            self.public,
            self.private,
            queue_frames=options.queue_frames,
            reply_delay_s=options.ack_delay_s,
        )
        self.health = Health("prices")
        self._passing: set[str] = set()
        self._stack = AsyncExitStack()
        self._port = options.port

    @property
    def replay(self) -> ReplayVenue:
        """The venue of a replay, through which it is fed.

        Raises:
            TypeError: If the exchange runs in real time.
        """
        if not isinstance(self.venue, ReplayVenue):
            raise TypeError("the exchange runs in real time; there is nothing to feed")
        return self.venue

    @property
    def rest_url(self) -> str:
        """Base address of the REST API."""
        return f"http://{self._authority}"

    @property
    def stream_url(self) -> str:
        """Base address of the streams, to which `/v5/private` and the like are added."""
        return f"ws://{self._authority}"

    @property
    def _authority(self) -> str:
        host = self.options.host
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    def take_accounts(self, accounts: tuple[AccountSettings, ...]) -> None:
        """Let the accounts be used with these keys; those that were valid before stay valid until the next change.

        Raises:
            InvalidInputError: If they are not the accounts that there are, or a key is another account's.
        """
        if {account.name for account in accounts} != set(self.engine.accounts):
            raise InvalidInputError("it names other accounts; accounts are opened and closed by a restart only")
        for account in accounts:
            self.engine.add_key(self.engine.accounts[account.name], account.credentials)
        valid = {account.key for account in accounts}
        for key in self._passing - valid:
            self.engine.revoke_key(key)
        self._passing = set(self.engine.keys) - valid

    async def __aenter__(self) -> Self:
        """Load the history and listen.

        Raises:
            DependencyError: If the port is taken.
        """
        bound = bind_socket(self.options.host, self.options.port)
        # Accepted sockets inherit it; without it an answer of two writes waits for the client's delayed ack.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._feeder is not None:
                trades = await asyncio.to_thread(self._feeder.load_history)
                _log.info("history_loaded", trades=trades, symbols=len(self.engine.markets))
                self.health.hold("prices")
            elif isinstance(self.venue, ReplayVenue):
                self.health.hold("prices")
            self._port = await self._stack.enter_async_context(
                serve_application(
                    self._application(),
                    bound,
                    http=AbortableProtocol,
                    ws="websockets-sansio",
                    ws_ping_interval=None,
                    ws_per_message_deflate=False,
                    timeout_keep_alive=_KEEP_ALIVE_S,
                )
            )
            self._stack.callback(self.sockets.close_all)
            if isinstance(self.venue, ReplayVenue):
                self._stack.callback(self.venue.close)
            if self._feeder is not None:
                await self._stack.enter_async_context(_running(self._feeder))
        except BaseException:
            bound.close()
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Refuse what still waits, close the sockets, stop listening."""
        await self._stack.aclose()

    def _application(self) -> Starlette:
        rest = RestApi(self.gateway)
        health = health_application(self.health)

        async def requests(scope: Scope, receive: Receive, send: Send) -> None:
            target = health if scope["path"] in _HEALTH_PATHS else rest
            await target(scope, receive, send)

        return Starlette(
            routes=[
                WebSocketRoute("/v5/public/linear", self.sockets.public),
                WebSocketRoute("/v5/private", self.sockets.private),
                WebSocketRoute("/v5/trade", self.sockets.trade),
                *Control(self.venue, self.limits, self.private, self.faults, self.sockets).routes,
                Mount("/", app=requests),
            ]
        )


@asynccontextmanager
async def _running(feeder: Feeder) -> AsyncIterator[None]:
    owner = asyncio.current_task()
    task = asyncio.create_task(feeder.run(), name="feeder")

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and done.exception() and owner:
            owner.cancel()

    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome


def options_of(settings: PaperExchangeSettings, config: BreakwaterConfig) -> Options:
    """Return the options that the settings describe.

    Raises:
        InvalidInputError: If a file they name is wrong.
    """
    real_time = settings.mode is Mode.REAL_TIME
    return Options(
        mode=settings.mode,
        host=settings.http_host,
        port=settings.http_port,
        accounts=settings.accounts_of(config),
        instruments=tuple(known_instruments(settings, config)),
        costs=settings.costs_of(config),
        rate_limits=real_time if settings.rate_limits is None else settings.rate_limits,
        ip_ban_ms=round(settings.ip_ban_s * 1000),
        ack_delay_s=settings.ack_delay_ms / 1000,
        queue_frames=settings.queue_frames,
        address_limit=settings.address_limit,
        endpoint_limits=settings.endpoint_limits,
        fault_rules=settings.fault_rules(wall_clock_ms() if real_time else 0),
    )


def known_instruments(settings: PaperExchangeSettings, config: BreakwaterConfig) -> list[Instrument]:
    """Return the trading rules of symbols that can be asked for before their first trade.

    They are those that the symbol's first trade would give it, if the reference price is that trade's.
    """
    if settings.mode is Mode.REAL_TIME and not settings.recordings:
        return [synthetic_instrument(symbol) for symbol in settings.symbols_of(config)]
    known = instruments()
    prices = reference_prices(settings, config)
    symbols = config.portfolio.symbols or tuple(prices)
    named = [symbol for symbol in symbols if symbol in known or symbol in prices]
    return [known.get(symbol) or default_instrument(symbol, prices[symbol]) for symbol in named]


def reference_prices(settings: PaperExchangeSettings, config: BreakwaterConfig) -> Mapping[str, float]:
    """Return a usual price of each symbol: as set; else, in a replay, the first one of the recording if that is named.

    Raises:
        InvalidInputError: If the recording cannot be read.
    """
    symbols = config.portfolio.symbols or None
    is_known = symbols is not None and instruments().keys() >= set(symbols)
    if settings.reference_prices or settings.mode is Mode.REAL_TIME or not settings.recordings or is_known:
        return settings.reference_prices
    session = config.session.session()
    return first_prices(open_recording(list(settings.recordings), session=session, symbols=symbols))


def playback_of(settings: PaperExchangeSettings, config: BreakwaterConfig) -> Playback | None:
    """Return the trades of real time, or None for a replay.

    Raises:
        InvalidInputError: If a recording is absent or damaged.
    """
    if settings.mode is Mode.REPLAY:
        return None
    now_ms = wall_clock_ms()
    if settings.recordings:
        symbols = config.portfolio.symbols or None
        return play_recording(open_recording(settings.recordings, session=UTC_DAYS, symbols=symbols), now_ms)
    return play_synthetic(
        seed=settings.synthetic_seed,
        symbols=settings.symbols_of(config),
        trades_per_day=settings.synthetic_trades_per_day,
        history_days=settings.synthetic_history_days,
        now_ms=now_ms,
    )


async def serve(
    settings: PaperExchangeSettings,
    config: BreakwaterConfig,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[PaperExchange], None] = lambda _exchange: None,
) -> None:
    """Run an exchange in real time until the event is set.

    Args:
        settings: Its environment.
        config: The configuration, for costs, symbols and accounts.
        stop: Ends it.
        on_ready: Is called with the exchange once requests can be answered.

    Raises:
        DependencyError: If the port is taken.
        InvalidInputError: If a recording or setting is wrong.
    """
    playback = await asyncio.to_thread(playback_of, settings, config)
    async with PaperExchange(options_of(settings, config), playback) as exchange:
        _log.info("exchange_opened", rest=exchange.rest_url, streams=exchange.stream_url)
        follow_accounts(settings, exchange)
        async with secrets_followed(
            settings.rotating_secrets,
            refresh_s=settings.secrets_refresh_s,
            service="paper-exchange",
            run_id=settings.run_id,
        ):
            on_ready(exchange)
            await stop.wait()


def follow_accounts(settings: PaperExchangeSettings, exchange: PaperExchange) -> None:
    """Have the exchange take the keys of each new list of accounts."""
    rotating = settings.rotating_secret("accounts")
    if rotating is not None:

        async def take(text: str) -> None:
            exchange.take_accounts(accounts_of_text(text))

        rotating.follow(take)
