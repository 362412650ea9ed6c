"""Risk rules, checked before each entry; whatever reduces a position is always approved.

Money is quote currency, times milliseconds UTC, shares fractions of 1.
"""

from dataclasses import dataclass
from decimal import Decimal

from breakwater_core.config import RiskSettings
from breakwater_core.decimals import MONEY, to_text
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Intent
from breakwater_core.verdicts import Approved, Refused

__all__ = ["RULES", "Approved", "Refused", "RiskState", "check_entry", "running_drawdown"]

RULES = (
    "halted",
    "fenced",
    "expired",
    "stale_data",
    "max_order_notional",
    "max_open_positions",
    "daily_loss_stop",
    "drawdown_stop",
)
"""Names of the rules, in the order in which they are checked."""


@dataclass(frozen=True, slots=True)
class RiskState:
    """What is known of the account and the market when an entry is checked.

    Attributes:
        halted: Whether entries are switched off.
        current_epoch: Where the fence stands; an entry decided under an earlier epoch is refused.
        open_positions: Open positions of the account, those being entered included.
        equity: Equity now, quote currency.
        day_open_equity: Equity at the day's open.
        net_deposits_today: Deposits - withdrawals since the day's open.
        drawdown: Drawdown now of the deposit-adjusted equity, a share; see `running_drawdown`.
        last_market_data_ms: Time of the newest market data; None: none was seen.
        now_ms: Time of the check: the venue's live, the intent's event time in a replay.
    """

    halted: bool
    current_epoch: int
    open_positions: int
    equity: Decimal
    day_open_equity: Decimal
    net_deposits_today: Decimal
    drawdown: Decimal
    last_market_data_ms: int | None
    now_ms: int


def running_drawdown(
    *,
    equity: Decimal,
    day_open_equity: Decimal,
    net_deposits_today: Decimal,
    cumulative: Decimal,
    peak: Decimal,
) -> Decimal:
    """Return the drawdown within the running day, a share: 1 - cumulative now / max(1, peak, cumulative now).

    Args:
        equity: Equity now, quote currency.
        day_open_equity: Equity at the day's open, above 0.
        net_deposits_today: Deposits - withdrawals since then; they are neither gain nor loss.
        cumulative: Product of the growth factors of the days closed so far (1 on the first day).
        peak: Largest such product so far.

    Raises:
        InvalidInputError: If the day opened without equity, so that no return exists.
    """
    if day_open_equity <= 0:
        raise InvalidInputError(f"day_open_equity must be above 0 for a drawdown, was {day_open_equity}")
    growth = MONEY.divide(MONEY.subtract(equity, net_deposits_today), day_open_equity)
    now = MONEY.multiply(cumulative, max(growth, Decimal(0)))
    return MONEY.subtract(Decimal(1), MONEY.divide(now, max(Decimal(1), peak, now)))


def check_entry(intent: Intent, notional: Decimal, state: RiskState, settings: RiskSettings) -> Approved | Refused:
    """Return whether the intent may become an order.

    An intent that reduces a position is approved whatever the state. Market data are stale when they are older than an
    entry may be (`entry_valid_for`), or were never seen.

    Args:
        intent: What is to be done.
        notional: Value of the entry, quote currency.
        state: The account and the market now.
        settings: The limits.
    """
    if intent.leg.reduces:
        return Approved()
    return (
        _check_authority(intent, state)
        or _check_age(intent, state, settings)
        or _check_exposure(notional, state, settings)
        or _check_losses(state, settings)
        or Approved()
    )


def _check_authority(intent: Intent, state: RiskState) -> Refused | None:
    if state.halted:
        return Refused("halted", "entries are halted; `breakwater resume` lets them through again")
    if intent.epoch < state.current_epoch:
        return Refused("fenced", f"decided under epoch {intent.epoch}, before the halt of epoch {state.current_epoch}")
    return None


def _check_age(intent: Intent, state: RiskState, settings: RiskSettings) -> Refused | None:
    if intent.valid_until_ms is not None and state.now_ms >= intent.valid_until_ms:
        return Refused("expired", f"valid until {intent.valid_until_ms} ms, it is {state.now_ms} ms")
    if state.last_market_data_ms is None:
        return Refused("stale_data", "no market data have been seen yet")
    age_ms, longest_ms = state.now_ms - state.last_market_data_ms, round(settings.entry_valid_for * 1000)
    if age_ms > longest_ms:
        return Refused("stale_data", f"the newest market data are {age_ms} ms old, {longest_ms} ms are allowed")
    return None


def _check_exposure(notional: Decimal, state: RiskState, settings: RiskSettings) -> Refused | None:
    largest, most = settings.max_order_notional, settings.max_open_positions
    if largest is not None and notional > largest:
        return Refused("max_order_notional", f"an order of {to_text(notional)} exceeds {to_text(largest)}")
    if most is not None and state.open_positions >= most:
        return Refused("max_open_positions", f"{state.open_positions} positions are open, {most} are allowed")
    return None


def _check_losses(state: RiskState, settings: RiskSettings) -> Refused | None:
    if settings.daily_loss_stop is not None:
        loss = MONEY.subtract(state.day_open_equity, MONEY.subtract(state.equity, state.net_deposits_today))
        allowed = MONEY.multiply(settings.daily_loss_stop, max(state.day_open_equity, Decimal(0)))
        if loss >= allowed:
            return Refused("daily_loss_stop", f"today's loss of {to_text(loss)} has reached {to_text(allowed)}")
    stop = settings.drawdown_stop
    if stop is not None and state.drawdown >= stop:
        return Refused("drawdown_stop", f"the drawdown of {to_text(state.drawdown)} has reached {to_text(stop)}")
    return None
