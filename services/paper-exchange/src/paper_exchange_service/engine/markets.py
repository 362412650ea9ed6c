"""The market side of the engine: per symbol its rules, trades, candles and funding rates; and what trading costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from breakwater_core.decimals import from_float
from breakwater_core.market import Instrument, TradeBatch
from breakwater_core.price_history import PriceHistory
from breakwater_core.venue_rules import BAND_RATIO, MAINTENANCE_RATIO, funding_stamps
from breakwater_recordings.funding import FundingRecords
from paper_exchange_service.engine.candles import MinuteCandles
from paper_exchange_service.engine.rules import TradingRules


@dataclass(frozen=True)
class Costs:
    """What the exchange charges and how it fills.

    Attributes:
        taker_fee: Share of the value paid by the taker.
        maker_fee: Share of the value paid by the maker.
        slippage_ratio: Distance of the first taker fill from the last trade, as a share of the price.
        latency_ms: Time from a request's stamp to its matching.
        depth_notional: Value per price level, quote currency; None: the first level holds everything.
        band_ratio: Largest distance of a market order's fills from the last trade, as a share.
        maintenance_ratio: Maintenance margin as a share of the position's value.
        slippage_range_share: What it is besides, as a share of the range of the last minute's trades.
        funding_rate: Rate of every stamp of which `funding` says nothing.
        funding: Recorded rates; None: all are `funding_rate`, every 8 hours.
    """

    taker_fee: Decimal = Decimal("0.00055")
    maker_fee: Decimal = Decimal("0.0002")
    slippage_ratio: Decimal = Decimal("0.0001")
    latency_ms: int = 50
    depth_notional: Decimal | None = None
    band_ratio: Decimal = BAND_RATIO
    maintenance_ratio: Decimal = MAINTENANCE_RATIO
    slippage_range_share: Decimal = Decimal(0)
    funding_rate: Decimal = Decimal(0)
    funding: FundingRecords | None = None

    def funding_due(self, symbol: str, after_ms: int, through_ms: int) -> Iterator[tuple[int, Decimal]]:
        """Yield stamp and rate of each settlement with `after_ms < stamp <= through_ms`, oldest first.

        Longs pay shorts when the rate is positive.
        """
        if self.funding is not None:
            yield from self.funding.due(symbol, after_ms, through_ms, otherwise=self.funding_rate)
            return
        for stamp in funding_stamps(after_ms, through_ms):
            yield stamp, self.funding_rate


class Market:
    """One symbol: trading rules, trades, candles."""

    def __init__(self, instrument: Instrument, costs: Costs, retention_ms: int) -> None:
        self.symbol = instrument.symbol
        self.instrument = instrument
        self.rules = TradingRules(instrument, band_ratio=costs.band_ratio, maintenance_ratio=costs.maintenance_ratio)
        self.prices = PriceHistory(instrument.symbol, retention_ms)
        self.candles = MinuteCandles()
        self._known: tuple[float, Decimal] = (0.0, Decimal(0))

    def feed(self, batch: TradeBatch) -> None:
        """Take in trades that follow those known."""
        self.prices.append(batch)
        self.candles.absorb(batch)

    def last_at(self, time_ms: int) -> Decimal | None:
        """Return the price of the last trade at or before the time, or None before the first one."""
        price = self.prices.price_at(time_ms)
        if price is None:
            return None
        if self._known[0] != price:
            self._known = (price, from_float(price))
        return self._known[1]
