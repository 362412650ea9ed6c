"""Ids of traces and spans, derived from what every process knows, so that spans link up without a word on the wire.

A trace is an intent: its id is the 128 bits of the order link id of the intent's first order. So whoever has the
intent id, and whoever has only an execution of that order, computes the same one. A span's id is a hash of the step and
of what the step was about.
"""

import hashlib
import re
from collections import OrderedDict

from breakwater_core.identities import order_link_id

CHILDREN_KNOWN = 16
"""Orders of an intent whose link ids are worked out ahead; as many as an intent's record names."""
INTENTS_KNOWN = 512
_LINK_ID = re.compile(r"bw-([0-9a-f]{32})")
_SAMPLED_BITS = (1 << 64) - 1


def trace_of_intent(intent_id: str) -> int:
    """Return the trace id of an intent: 128 bits, never 0."""
    return _bits(order_link_id(intent_id, 0))


def trace_text(trace_id: int) -> str:
    """Return a trace id as backends show it: 32 hexadecimal digits."""
    return f"{trace_id:032x}"


def span_of(step: str, key: str) -> int:
    """Return the id of a step's span: 64 bits, never 0.

    Args:
        step: Name of the step.
        key: What the step was about, e.g. an intent id, an order link id, the id of an event.
    """
    return int.from_bytes(hashlib.sha256(f"{step}|{key}".encode()).digest()[:8], "big") or 1


def is_sampled(trace_id: int, ratio: float) -> bool:
    """Return whether a trace is kept; every process answers alike, and a smaller ratio keeps a part of a larger one's.

    Args:
        trace_id: The trace.
        ratio: Share of traces to keep, in [0, 1]; as OpenTelemetry's `traceidratio` it looks at the lower 64 bits.
    """
    return trace_id & _SAMPLED_BITS < round(ratio * (_SAMPLED_BITS + 1))


class OrderTraces:
    """Which trace an order belongs to, for those who see order link ids and no intent ids.

    An intent that was heard of makes its first orders known. Of an unknown order it is taken that it is its intent's
    first, which is right for all but the later rounds of an exit and the parts of a split entry.
    """

    def __init__(self) -> None:
        """Know no intent yet."""
        self._traces: dict[str, int] = {}
        self._intents: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many orders are known."""
        return len(self._traces)

    def learn(self, intent_id: str, child: int = 0) -> None:
        """Take note of an intent and of its order number `child`; the oldest intents are forgotten."""
        known = self._intents.get(intent_id, ())
        if known and child < len(known):
            return
        trace = trace_of_intent(intent_id)
        more = range(len(known), max(child + 1, CHILDREN_KNOWN))
        links = (*known, *(order_link_id(intent_id, number) for number in more))
        self._intents[intent_id] = links
        self._traces.update(dict.fromkeys(links, trace))
        while len(self._intents) > INTENTS_KNOWN:
            _, forgotten = self._intents.popitem(last=False)
            for link in forgotten:
                del self._traces[link]

    def trace_of(self, link_id: str) -> int | None:
        """Return the trace of an order; None if its link id has not the form of ours."""
        known = self._traces.get(link_id)
        if known is not None:
            return known
        return _bits(link_id) if _LINK_ID.fullmatch(link_id) else None


def _bits(link_id: str) -> int:
    found = _LINK_ID.fullmatch(link_id)
    if found is None:
        raise ValueError(f"not an order link id of ours: {link_id!r}")
    return int(found[1], 16) or 1
