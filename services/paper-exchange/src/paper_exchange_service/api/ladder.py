"""An order book made up around the last price: one level per tick, sizes that depend on the price alone."""

from dataclasses import dataclass
from decimal import Decimal

from paper_exchange_service.engine.markets import Market

DEFAULT_LEVEL_NOTIONAL = Decimal(100_000)
_KNUTH = 2_654_435_761

Level = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Ladder:
    """Both sides, best first, as `(price, size)` texts with the tick's and the step's decimals."""

    bids: list[Level]
    asks: list[Level]


def ladder(market: Market, last: Decimal, depth: int, level_notional: Decimal | None = None) -> Ladder:
    """Return `depth` levels per side; the best bid is the last price, the best ask one tick above."""
    rules = market.rules
    scale = 10**rules.price_decimals
    tick = int(rules.tick * scale)
    best = int((last / rules.tick).to_integral_value())
    most = max(1, int((level_notional or DEFAULT_LEVEL_NOTIONAL) / last / rules.step))
    step = int(rules.step * 10**rules.quantity_decimals)

    def level(number: int) -> Level:
        share = 100 + number * _KNUTH % 901
        steps = max(1, most * share // 1000)
        return _fixed(number * tick, rules.price_decimals), _fixed(steps * step, rules.quantity_decimals)

    return Ladder(
        bids=[level(number) for number in range(best, max(0, best - depth), -1)],
        asks=[level(number) for number in range(best + 1, best + 1 + depth)],
    )


def difference(before: list[Level], after: list[Level]) -> list[Level]:
    """Return the levels to send so that a reader of `before` has `after`; size "0" deletes."""
    old = dict(before)
    new = dict(after)
    changed = [(price, size) for price, size in after if old.get(price) != size]
    return changed + [(price, "0") for price, _ in before if price not in new]


def _fixed(number: int, decimals: int) -> str:
    if not decimals:
        return str(number)
    text = str(number).rjust(decimals + 1, "0")
    return f"{text[:-decimals]}.{text[-decimals:]}"
