"""Spans of time as fetches divide them. Times are milliseconds since 1970-01-01T00:00Z, days are UTC."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from breakwater_core.errors import InvalidInputError
from breakwater_recordings.coverage import Interval

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


def day_start_ms(day: date) -> int:
    """Return when the UTC day begins."""
    return (day - date(1970, 1, 1)) // timedelta(days=1) * DAY_MS


def utc_day(time_ms: int) -> date:
    """Return the UTC day of the instant."""
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).date()


def days_from(first: date, last: date) -> list[date]:
    """Return the days from first to last, both included.

    Raises:
        InvalidInputError: If there is none.
    """
    if last < first:
        raise InvalidInputError(f"the range is empty: it starts on {first} and ends on {last}")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def file_periods(span: Interval, step_ms: int) -> Iterator[tuple[str, Interval]]:
    """Yield name and extent of the files that bars of the span go to, oldest first.

    A file holds a calendar month (`2024-05`) of bars shorter than an hour, a calendar year (`2024`) of others.
    """
    day = utc_day(span[0]).replace(day=1)
    while day_start_ms(day) < span[1]:
        if step_ms >= HOUR_MS:
            day = day.replace(month=1)
            following, name = day.replace(year=day.year + 1), f"{day:%Y}"
        else:
            following, name = (day + timedelta(days=32)).replace(day=1), f"{day:%Y-%m}"
        yield name, (day_start_ms(day), day_start_ms(following))
        day = following


def cut(span: Interval, limits: Interval) -> Interval:
    """Return the part of the span that lies within the limits; it may be empty (end not after start)."""
    return max(span[0], limits[0]), min(span[1], limits[1])


def beyond(wanted: Interval, known: Interval | None) -> list[Interval]:
    """Return what is to be asked for so that known and wanted, and what lies between them, become known."""
    if known is None:
        return [wanted]
    parts = [(wanted[0], known[0]), (known[1], wanted[1])]
    return [part for part in parts if part[0] < part[1]]
