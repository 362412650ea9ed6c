"""What the study may say of itself in words: every sentence follows from figures by a rule that stands here."""

import math
from dataclasses import dataclass

from breakwater_research.number_text import fixed, percent
from breakwater_research.search.randomization import LEVEL
from breakwater_research.search.verdict import LEAST_DEFLATED, MOST_OVERFIT
from breakwater_research.study.search_part import SearchOutcome
from breakwater_research.study.study import Study, span_name


@dataclass(frozen=True)
class Verdict:
    """Whether the study found an edge.

    Attributes:
        is_significant: Whether every test was passed.
        sentence: The answer in one sentence.
        reasons: Each test, its figure and whether it was passed.
    """

    is_significant: bool
    sentence: str
    reasons: tuple[str, ...]


def verdict(search: SearchOutcome) -> Verdict:
    """Return whether what walk-forward earned out-of-sample can be told from chance."""
    out_of_sample = search.out_of_sample.sharpe
    earned = math.isfinite(out_of_sample) and out_of_sample > 0
    checks = [
        (
            earned,
            (
                f"out-of-sample Sharpe ratio {fixed(out_of_sample, signed=True)} "
                f"({percent(search.out_of_sample.total, signed=True)})"
            ),
            "above 0",
        ),
        *(
            (one.p_value <= LEVEL, f"{one.name}: p = {fixed(one.p_value, 3)}", f"at most {fixed(LEVEL)}")
            for one in search.chance
        ),
        (
            search.deflated_sharpe >= LEAST_DEFLATED,
            f"deflated Sharpe ratio of the best of {search.tries} sets: {fixed(search.deflated_sharpe, 3)}",
            f"at least {fixed(LEAST_DEFLATED)}",
        ),
        (
            search.overfitting < MOST_OVERFIT,
            f"probability of backtest overfitting: {fixed(search.overfitting)}",
            f"below {fixed(MOST_OVERFIT)}",
        ),
    ]
    passed = all(is_passed for is_passed, _, _ in checks)
    if passed:
        sentence = "Significant: what was chosen in-sample earned money out-of-sample, and every test was passed."
    elif not earned:
        sentence = "Not significant: what was chosen in-sample lost money out-of-sample."
    else:
        sentence = "Not significant: the out-of-sample result is positive, but it cannot be told from chance."
    reasons = tuple(
        f"{'passed' if is_passed else 'failed'}: {what} (wanted: {wanted})" for is_passed, what, wanted in checks
    )
    return Verdict(passed, sentence, reasons)


def against_holding(study: Study) -> str:
    """Return how the portfolio stands beside holding the same symbols."""
    base, holding = study.base.series, study.holding
    return (
        f"As configured the portfolio returned {percent(base.total, 1, signed=True)} "
        f"({percent(base.annual_growth, 1, signed=True)} a year) with a largest drawdown of "
        f"{percent(base.max_drawdown, 1)}; holding the same symbols without leverage returned "
        f"{percent(holding.total, 1, signed=True)} with {percent(holding.max_drawdown, 1)}."
    )


def about_filters(study: Study) -> str:
    """Return which filter was better, and by how much."""
    by_sharpe = sorted(study.filters, key=lambda one: -_or_lowest(one.series.sharpe))
    best, *others = by_sharpe
    beaten = ", ".join(f"{one.name} {fixed(one.series.sharpe)}" for one in others)
    losing = " None of them earned money." if all(one.series.total <= 0 for one in by_sharpe) else ""
    return f"Best by Sharpe ratio: {best.name} {fixed(best.series.sharpe)} (others: {beaten}).{losing}"


def about_costs(study: Study) -> str:
    """Return what costs did to the result."""
    free, *_, full = study.costs
    turned = free.series.total > 0 >= full.series.total
    change = "Costs turn a gain into a loss" if turned else "Costs change the result"
    return (
        f"{change}: {percent(free.series.annual_growth, 1, signed=True)} a year without any, "
        f"{percent(full.series.annual_growth, 1, signed=True)} with all of them; {full.trades:,} trades paid "
        f"{percent(full.fees / full.series.years, 1)} of the equity a year in fees, "
        f"{percent(full.slippage / full.series.years, 1)} in slippage, "
        f"{percent(full.funding / full.series.years, 1)} in funding."
    )


def about_slippage(study: Study) -> str:
    """Return up to which slippage the portfolio earned money."""
    earning = [one for one in study.slippages if one.series.total > 0]
    if not earning:
        return "At no slippage that was tried did the portfolio earn money."
    if len(earning) == len(study.slippages):
        return "At every slippage that was tried the portfolio earned money."
    return f"The portfolio earned money up to a slippage of {earning[-1].name} bps per order, of those that were tried."


def about_leverage(study: Study) -> str:
    """Return what leverage did."""
    best = max(study.leverages, key=lambda one: _or_lowest(one.series.annual_growth))
    closed = [one for one in study.leverages if one.liquidations]
    text = f"Growth was largest at {best.name}x ({percent(best.series.annual_growth, 1, signed=True)} a year)"
    if all(one.series.annual_growth <= 0 for one in study.leverages):
        least = percent(best.series.annual_growth, 1, signed=True)
        text = f"Every leverage lost money, least at {best.name}x ({least} a year)"
    if not closed:
        return f"{text}; no position was closed by the exchange."
    counts = ", ".join(f"{one.liquidations} at {one.name}x" for one in closed)
    return f"{text}; positions closed by the exchange: {counts}."


def about_spans(study: Study) -> tuple[str, ...]:
    """Return per comparison how the coarse bars differ from the fine ones."""
    sentences = []
    for one in study.spans:
        coarse, fine = one.result_per_trade_bps
        gaps = one.entry_gap_bps
        sentences.append(
            f"{one.coarse} against {one.fine}, {one.symbol_days} days of {len(one.symbols)} symbols: "
            f"{percent(one.same_side_share, 1)} of the days with a trade had the same one; a trade made "
            f"{fixed(coarse, 1, signed=True)} against {fixed(fine, 1, signed=True)} bps, the median entry lay "
            f"{fixed(gaps[0], 1)} "
            f"against {fixed(gaps[1], 1)} bps beyond its target, daily results correlate by {fixed(one.correlation)}."
        )
    return tuple(sentences)


def known_and_not_known(study: Study) -> tuple[tuple[str, str], ...]:
    """Return the limits of the study: what it is about, and what follows for the figures."""
    histories = study.histories
    late = [one for one in histories if one.first_day > study.base.series.dates[0]]
    last = max(histories, key=lambda one: one.first_day)
    missing = sum(one.missing_days for one in histories)
    funding = study.config.costs.funding_rate
    named = study.plan.config.portfolio.symbols
    chosen = (
        "The symbols were named by the user of the study."
        if named
        else "The symbols are those with the longest history among the candles given: no price was looked at, but a "
        "market that was delisted since leaves no candles."
    )
    worst = percent(study.worst_fills.series.total if study.worst_fills else None, 1, signed=True)
    cut = (
        f"The bars of {span_name(study.span_ms)} say neither when a target was met nor whether high or low "
        f"came first; the path "
        "open, low, high, close (open, high, low, close for a falling bar) is an assumption."
    )
    if study.pieces > 1:
        cut += (
            f" Each bar is cut into {study.pieces} pieces along it, so that entries lie near their targets; "
            f"walked corner to corner, "
            f"the same portfolio returns {worst}."
        )
    return (
        ("Survivorship", f"{chosen} Markets that died are missing, which flatters longs above all."),
        ("Order of prices within a bar", cut),
        (
            "Funding",
            (
                f"A constant rate of {percent(funding, 3)} per 8-hour stamp stands for all symbols and years; the "
                f"true rate moved and was "
                "often higher when prices rose."
            ),
        ),
        (
            "Listing dates",
            (
                f"{len(late)} of {len(histories)} symbols begin after the first day ({last.symbol} "
                f"last on {last.first_day}); until then their share of the equity lies idle. "
                f"{missing} days of all symbols are incomplete and are not traded, nor are days whose average "
                f"needs one of them."
            ),
        ),
        (
            "Slippage",
            (
                f"A constant {fixed(study.config.costs.slippage_bps, 1)} bps per order whatever its size, the "
                f"symbol and the year; the account is assumed small "
                "beside the market."
            ),
        ),
        (
            "Risk stops and latency",
            "Limits on loss, drawdown and open positions are off, and orders meet the trade that triggered them.",
        ),
    )


def _or_lowest(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
