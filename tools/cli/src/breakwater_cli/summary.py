"""What a run says at its end: the figures that only its caller knows, and its outcome in one line."""

from decimal import Decimal
from typing import Any

_OF_RECORDS = {
    "settlements_without_record": "settlements of funding at costs.funding_rate for want of a record",
    "orders_priced_by_book": "orders priced by the book",
    "orders_priced_without_book": "without",
}
"""Counters of a run that was given recorded costs, and what they count."""


def finish_report(report: dict[str, Any], *, trades: int, wall_seconds: float) -> None:
    """Put in what the books of a run cannot know: trades played and wall-clock figures."""
    report["counters"] |= {
        "trades": trades,
        "wall_seconds": round(wall_seconds, 3),
        "trades_per_second": round(trades / wall_seconds) if wall_seconds > 0 else 0,
    }


def summary_line(report: dict[str, Any]) -> str:
    """Return the run's outcome in one line."""
    counters, days = report["counters"], report["days"]
    result = ""
    if days:
        total = (Decimal(days[-1]["cumulative"]) - 1) * 100
        result = f"{len({row['day'] for row in days})} days, return {total:+.2f} %, "
        result += f"MDD {Decimal(days[-1]['mdd']) * 100:.2f} %, "
    records = "".join(f", {counters[key]} {what}" for key, what in _OF_RECORDS.items() if key in counters)
    return (
        f"{result}{counters['orders']} orders, {counters['fills']} fills, {counters['trades']:,} trades in "
        f"{counters['wall_seconds']:.1f} s ({counters['trades_per_second']:,}/s){records}"
    )
