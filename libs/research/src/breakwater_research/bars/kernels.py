"""One parameter set through its days in float64: entries, stops, exits, costs, compounding; compiled.

What is computed here is what the exact account does on a day on which nothing is refused, split or liquidated. Whether
a day is such a day is judged by a bound on the worst that can happen on it; if it may not be, `run_days` stops and
leaves the day to the exact account. Money is quote currency, times milliseconds UTC, shares fractions of 1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from breakwater_research.bars.compiled import compiled, inlined, uncounted
from breakwater_research.bars.paths import (
    Paths,
    first_at_or_above,
    first_at_or_below,
    first_from,
    last_through,
    time_of,
)
from breakwater_research.bars.plans import Days, Rules, find_entry

SYMBOL, DAY, SIDE, TRIGGER_TIME, TARGET, TRIGGER_PRICE, ENTRY_TIME, ENTRY_PRICE = range(8)
EXIT_TIME, EXIT_PRICE, EXIT_LEG, QUANTITY, GROSS, FEE, SLIPPAGE, FUNDING = range(8, 16)
COLUMNS = 16
"""Columns of a row of trades; money columns are quote currency."""
LEG_EXIT, LEG_STOP, LEG_LIQUIDATION = 0, 1, 2

_NO_TRADE, _TRADED, _MUST_WALK = 0, 1, 2
_INITIAL_MARGIN = 0.1  # 1 / `MARGIN_LEVERAGE` of the simulated account
_SAFE_SLIPPAGE = 0.04  # below the exchange's price band of 0.05
_SAFE_TICKS = 200.0  # from here on 4 % rounded up to the tick stay below 5 % rounded down
_MINUTE_MS = 60_000


class Costs(NamedTuple):
    """What one parameter set pays, and how large it trades.

    Attributes:
        share: Notional of one entry / equity at the day's open.
        stop_loss: Share of the entry price; 0: none.
        fee_rate: Of the traded value.
        slippage: Distance of a fill from the last trade, as a share of it.
        range_share: Distance besides, as a share of the last minute's range.
        latency_ms: From trigger to matching.
        exit_lead_ms: The exit window opens so long before the day's end.
        funding_rate: Rate at each stamp; NaN: the stamps' own.
        largest_notional: Of one entry; inf: no limit.
        most_positions: Entries of a day that cannot meet a limit.
        loss_stop: Loss of a day that cannot meet a limit, a share; inf: no limit.
        drawdown_stop: Drawdown that cannot meet a limit, a share; inf: no limit.
    """

    share: float
    stop_loss: float
    fee_rate: float
    slippage: float
    range_share: float
    latency_ms: int
    exit_lead_ms: int
    funding_rate: float
    largest_notional: float
    most_positions: int
    loss_stop: float
    drawdown_stop: float


class Venue(NamedTuple):
    """Trading rules and funding per symbol.

    Attributes:
        ticks: Shape (n_symbols,), float64, price step; `steps` alike for quantities.
        tick_inverses: 1 / tick where that is a whole number, else 0; `step_inverses` alike.
        smallest: Smallest order, base units.
        smallest_notional: Smallest order, quote currency.
        largest: Largest market order, base units.
        stamp_at: Shape (n_symbols + 1,): where each symbol's funding stamps begin.
        stamp_times: Shape (n_stamps,), int64, rising within a symbol.
        stamp_marks: Last price at each stamp.
        stamp_rates: Funding rate of each stamp.
    """

    ticks: NDArray[np.float64]
    tick_inverses: NDArray[np.float64]
    steps: NDArray[np.float64]
    step_inverses: NDArray[np.float64]
    smallest: NDArray[np.float64]
    smallest_notional: NDArray[np.float64]
    largest: NDArray[np.float64]
    stamp_at: NDArray[np.int64]
    stamp_times: NDArray[np.int64]
    stamp_marks: NDArray[np.float64]
    stamp_rates: NDArray[np.float64]


class Progress(NamedTuple):
    """What a parameter set has come to; written in place.

    Attributes:
        equity: Shape (3,): equity now, its peak at a day's open so far, and what it began with.
        returns: Shape (n_days,): net return of each day.
        sums: Shape (3,): fees, slippage and funding as shares of the equity at the day's open.
        counts: Shape (2,), int64: trades so far, rows in the log.
        log: Shape (n_rows, COLUMNS): the trades; overwritten day by day if `keeps_log` is 0.
        keeps_log: Shape (1,): whether the log grows.
    """

    equity: NDArray[np.float64]
    returns: NDArray[np.float64]
    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    log: NDArray[np.float64]
    keeps_log: NDArray[np.bool_]


# -- prices --------------------------------------------------------------------------------------------------------


@inlined
def taker_price(side: int, last: float, distance: float, tick: float, inverse: float) -> float:
    """Return where a market order fills: moved against the taker by the distance and rounded away from him to the tick.

    What lies within a billionth of a tick counts as on it: floats cannot tell.
    """
    price = last + side * distance
    ticks = price * inverse if inverse > 0 else price / tick
    near = np.rint(ticks)
    if abs(ticks - near) > max(1e-9, ticks * 1e-14):
        near = np.ceil(ticks) if side > 0 else np.floor(ticks)
    return float(near / inverse if inverse > 0 else near * tick)


@inlined
def sized(value: float, price: float, step: float, inverse: float) -> float:
    """Return the largest multiple of the step that is worth at most the value."""
    steps = np.floor(value / (price * step) * (1.0 + 1e-14))
    return float(steps / inverse if inverse > 0 else steps * step)


@inlined
def slippage_of(paths: Paths, costs: Costs, symbol: int, trade: int, first: int, match_ms: int) -> float:
    """Return the distance of a fill from the last trade before it, `trade`; trades before `first` are not known."""
    distance = costs.slippage * float(paths.prices[trade])
    if costs.range_share == 0.0:
        return distance
    low = high = paths.prices[trade]
    while trade > first and time_of(paths, symbol, trade) > match_ms - _MINUTE_MS:
        trade -= 1
        price = paths.prices[trade]
        low, high = min(low, price), max(high, price)
    return distance + costs.range_share * float(high - low)


@compiled
def marks_of(paths: Paths, symbol: int, start: int, stop: int, stamps_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the last price of the trades [start, stop) at each stamp; 0 before the first, where nothing is held."""
    marks = np.zeros(stamps_ms.size)
    for place in range(stamps_ms.size):
        trade = first_from(paths, symbol, start, stop, stamps_ms[place] + 1) - 1
        if trade >= start:
            marks[place] = paths.prices[trade]
    return marks


@inlined
def funding_of(venue: Venue, costs: Costs, symbol: int, size: float, after_ms: int, through_ms: int) -> float:
    """Return what a position pays at the stamps after the one time and through the other."""
    if costs.funding_rate == 0.0:
        return 0.0
    start, stop = venue.stamp_at[symbol], venue.stamp_at[symbol + 1]
    low, high = start, stop
    while low < high:
        middle = (low + high) >> 1
        if venue.stamp_times[middle] <= after_ms:
            low = middle + 1
        else:
            high = middle
    paid = 0.0
    while low < stop and venue.stamp_times[low] <= through_ms:
        rate = venue.stamp_rates[low] if np.isnan(costs.funding_rate) else costs.funding_rate
        paid += size * venue.stamp_marks[low] * rate
        low += 1
    return paid


# -- a position ----------------------------------------------------------------------------------------------------


@inlined
def _enter(
    paths: Paths, costs: Costs, venue: Venue, equity: float, first: int, stop: int, row: NDArray[np.float64]
) -> int:
    """Size and fill the entry that the row names; return what became of it."""
    symbol, side = int(row[SYMBOL]), int(row[SIDE])
    trade, trigger = int(row[ENTRY_TIME]), row[TRIGGER_PRICE]
    quantity = sized(equity * costs.share, trigger, venue.steps[symbol], venue.step_inverses[symbol])
    if quantity <= 0.0 or quantity < venue.smallest[symbol] or quantity * trigger < venue.smallest_notional[symbol]:
        return _NO_TRADE
    if quantity > venue.largest[symbol] or quantity * trigger > costs.largest_notional:
        return _MUST_WALK
    match_ms = time_of(paths, symbol, trade) + costs.latency_ms
    trade = last_through(paths, symbol, trade, stop, match_ms)
    last = paths.prices[trade]
    distance = slippage_of(paths, costs, symbol, trade, first, match_ms)
    if distance > _SAFE_SLIPPAGE * last or last < _SAFE_TICKS * venue.ticks[symbol]:
        return _MUST_WALK
    price = taker_price(side, last, distance, venue.ticks[symbol], venue.tick_inverses[symbol])
    row[QUANTITY], row[ENTRY_TIME], row[ENTRY_PRICE] = quantity, match_ms, price
    row[FEE] = quantity * price * costs.fee_rate
    row[SLIPPAGE] = quantity * (price - last) * side
    row[GROSS] = -side * quantity * last
    row[EXIT_TIME] = trade
    return _TRADED


@inlined
def _stop_trade(paths: Paths, costs: Costs, row: NDArray[np.float64], stop: int) -> int:
    """Return the first trade at or through the stop, of those after the entry's fill and before `stop`; else `stop`."""
    if costs.stop_loss == 0.0:
        return stop
    start = int(row[EXIT_TIME]) + 1
    if row[SIDE] > 0:
        return first_at_or_below(paths, row[ENTRY_PRICE] * (1.0 - costs.stop_loss), start, stop)
    return first_at_or_above(paths, row[ENTRY_PRICE] * (1.0 + costs.stop_loss), start, stop)


@inlined
def _leave(
    paths: Paths,
    costs: Costs,
    venue: Venue,
    limits: tuple[int, int, int, int],
    row: NDArray[np.float64],
) -> int:
    """Close the position that `_enter` opened; return what became of it.

    Args:
        paths: The bars.
        costs: The set's costs.
        venue: Rules and funding.
        limits: First trade that is known, first trade of the exit window, first of the next day, and when the exit
            window opens.
        row: The position.
    """
    first, exit_stop, day_stop, exit_ms = limits
    symbol, side = int(row[SYMBOL]), int(row[SIDE])
    if row[ENTRY_TIME] >= exit_ms:
        return _MUST_WALK
    trade = _stop_trade(paths, costs, row, max(exit_stop, int(row[EXIT_TIME]) + 1))
    if trade < exit_stop:
        row[EXIT_LEG] = LEG_STOP
        match_ms = time_of(paths, symbol, trade) + costs.latency_ms
    else:
        row[EXIT_LEG] = LEG_EXIT
        trade, match_ms = exit_stop - 1, exit_ms + costs.latency_ms
    trade = last_through(paths, symbol, trade, day_stop, match_ms)
    last = paths.prices[trade]
    distance = slippage_of(paths, costs, symbol, trade, first, match_ms)
    if distance > _SAFE_SLIPPAGE * last or last < _SAFE_TICKS * venue.ticks[symbol]:
        return _MUST_WALK
    price = taker_price(-side, last, distance, venue.ticks[symbol], venue.tick_inverses[symbol])
    quantity = row[QUANTITY]
    row[EXIT_TIME], row[EXIT_PRICE] = match_ms, price
    row[FEE] += quantity * price * costs.fee_rate
    row[SLIPPAGE] += quantity * (last - price) * side
    row[GROSS] += side * quantity * last
    row[FUNDING] = funding_of(venue, costs, symbol, side * quantity, int(row[ENTRY_TIME]), match_ms)
    return _TRADED


# -- a day ---------------------------------------------------------------------------------------------------------


@inlined
def _trade_symbol(
    paths: Paths,
    days: Days,
    rules: Rules,
    costs: Costs,
    venue: Venue,
    equity: float,
    place: tuple[int, int, int, int],
    row: NDArray[np.float64],
) -> int:
    """Trade one symbol on one day; `place` is symbol, day, first day of the run, and when the day ends."""
    symbol, day, first_day, day_end_ms = place
    trade, side, target = find_entry(paths, days, rules, symbol, day)
    if trade < 0:
        return _NO_TRADE
    row[:] = 0.0
    row[SYMBOL], row[DAY], row[SIDE], row[TARGET] = symbol, day, side, target
    row[TRIGGER_PRICE], row[TRIGGER_TIME] = paths.prices[trade], time_of(paths, symbol, trade)
    row[ENTRY_TIME] = trade
    first, day_stop = days.trade_at[symbol, first_day], days.trade_at[symbol, day + 1]
    state = _enter(paths, costs, venue, equity, first, day_stop, row)
    if state != _TRADED:
        return state
    exit_ms = day_end_ms - costs.exit_lead_ms
    return _leave(paths, costs, venue, (first, rules.exit_stops[symbol, day], day_stop, exit_ms), row)


@inlined
def _may_meet_a_limit(days: Days, costs: Costs, progress: Progress, rows: NDArray[np.float64]) -> bool:
    """Return whether an entry could be refused or a position liquidated, at the worst prices of the day all at once."""
    equity = progress.equity[0]
    if rows.shape[0] > costs.most_positions:
        return True
    lost = tied_up = 0.0
    for row in rows:
        symbol, day = int(row[SYMBOL]), int(row[DAY])
        quantity = row[QUANTITY]
        worst = days.lows[symbol, day] if row[SIDE] > 0 else days.highs[symbol, day]
        lost += quantity * max(0.0, (row[ENTRY_PRICE] - worst) * row[SIDE])
        lost += max(0.0, row[FEE]) + max(0.0, row[SLIPPAGE]) + abs(row[FUNDING])
        most = max(days.highs[symbol, day], row[ENTRY_PRICE])
        tied_up += quantity * most * (_INITIAL_MARGIN + 2.0 * max(0.0, costs.fee_rate))
    worst_equity = equity - lost
    if worst_equity <= tied_up * 1.001 or lost >= costs.loss_stop * equity:
        return True
    return bool(1.0 - worst_equity / progress.equity[1] >= costs.drawdown_stop)


@inlined
def _close_day(progress: Progress, day: int, rows: NDArray[np.float64]) -> None:
    equity = progress.equity[0]
    gained = 0.0
    for row in rows:
        gained += row[GROSS] - row[FEE] - row[SLIPPAGE] - row[FUNDING]
        progress.sums[0] += row[FEE] / equity
        progress.sums[1] += row[SLIPPAGE] / equity
        progress.sums[2] += row[FUNDING] / equity
    progress.returns[day] = gained / equity
    progress.equity[0] = equity + gained
    progress.equity[1] = max(progress.equity[1], equity + gained)
    progress.counts[0] += rows.shape[0]
    if progress.keeps_log[0]:
        progress.counts[1] += rows.shape[0]


@uncounted
def run_days(
    paths: Paths,
    days: Days,
    rules: Rules,
    costs: Costs,
    venue: Venue,
    members: NDArray[np.int64],
    day_starts_ms: NDArray[np.int64],
    span: tuple[int, int, int],
    progress: Progress,
) -> int:
    """Run the set through its days; return the day that the exact account must walk, or the day after the last.

    Args:
        paths: The bars.
        days: The table's days.
        rules: What the set enters by.
        costs: What it pays.
        venue: Rules and funding.
        members: Shape (n_members,), int64: indices of the portfolio's symbols, rising.
        day_starts_ms: As in `BarTable`.
        span: First day of the run, day to go on with, and the last day.
        progress: What the set has come to; `returns` begin with the first day of the run.
    """
    first_day, day, last_day = span
    while day <= last_day:
        if progress.equity[0] <= 0.0:
            return last_day + 1
        start = progress.counts[1]
        count = 0
        for symbol in members:
            place = (symbol, day, first_day, day_starts_ms[day + 1])
            row = progress.log[start + count]
            state = _trade_symbol(paths, days, rules, costs, venue, progress.equity[0], place, row)
            if state == _MUST_WALK:
                return day
            count += state
        if count:
            rows = progress.log[start : start + count]
            if _may_meet_a_limit(days, costs, progress, rows):
                return day
            _close_day(progress, day - first_day, rows)
        day += 1
    return last_day + 1
