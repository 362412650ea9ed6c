"""Pages of records and the cursors between them, which look like Bybit's: `<id>%3A<time>%2C<id>%3A<time>`."""

from collections.abc import Callable, Iterable
from itertools import islice
from urllib.parse import unquote

from paper_exchange_service.engine.refusal import bad_parameter


def page[T](
    records: Iterable[T], *, limit: int, cursor: str, mark: Callable[[T], tuple[str, int]]
) -> tuple[list[T], str]:
    """Return one page and the cursor of the next; empty when nothing follows.

    Args:
        records: All that match, newest first.
        limit: Most records on the page.
        cursor: Where the page begins; empty: at the newest.
        mark: Gives the id and the time of a record.

    Raises:
        Refusal: If the cursor names no record of these.
    """
    rest = iter(records)
    if cursor:
        wanted = unquote(unquote(cursor)).split(",")[-1].rpartition(":")[0]
        for record in rest:
            if mark(record)[0] == wanted:
                break
        else:
            raise bad_parameter("params error: cursor invalid")
    found = list(islice(rest, limit))
    if len(found) < limit or next(rest, None) is None:
        return found, ""
    first, last = (f"{name}%3A{time_ms}" for name, time_ms in (mark(found[0]), mark(found[-1])))
    return found, f"{first}%2C{last}"
