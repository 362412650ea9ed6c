"""When an exit begins, and by when a person must hear that it has not succeeded.

All exits of a day fall due at the same instant. By the wall clock they begin one after the other, evenly over a short
time, so that they do not meet the exchange's limit of orders per second all at once. The alarm leaves a share of the
lead: whoever hears it can still act before the day ends and funding is paid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from breakwater_core.events import Intent, Leg
from breakwater_core.session import Session

_SPREAD_SHARE = 0.25
"""Share of the lead within which the last exit begins, whatever the settings say."""
_ALARM_SHARE = 2 / 3
"""Share of the lead after which a position that is still open is alarmed, whatever the settings say."""


class DayRules(NamedTuple):
    """The session and the symbols, in their order, of a configuration."""

    session: Session
    symbols: tuple[str, ...]


def no_rules(_strategy_version: str) -> DayRules | None:
    """Return None: no configuration is known by its version."""
    return None


@dataclass(frozen=True, slots=True)
class ExitSchedule:
    """Beginnings and alarms of exits; times in milliseconds since 1970.

    Attributes:
        session: The trading session, which says when a day ends and how long before that its exits fall due.
        symbols: The symbols that are traded; their order is that of their exits.
        spread_s: Time from the first exit of a day to the last one; cut to a quarter of the session's exit lead.
        flat_deadline_s: A position is alarmed when it is still open so long after whatever reduces it was due; for an
            exit that is due in time, not later than after two thirds of the exit lead.
        rules_of: Session and symbols of an intent's configuration; None: `session` and `symbols`.
    """

    session: Session
    symbols: tuple[str, ...] = ()
    spread_s: float = 0.0
    flat_deadline_s: float = 20.0
    rules_of: Callable[[str], DayRules | None] = no_rules

    def begins_ms(self, intent: Intent) -> int:
        """Return when the intent's first order is sent at the earliest. Only exits wait; a stop or a flatten never."""
        session, symbols = self._rules(intent)
        if intent.leg is not Leg.EXIT or intent.symbol not in symbols:
            return intent.trigger_time_ms
        spread_ms = min(self.spread_s * 1000, session.exit_lead_ms * _SPREAD_SHARE)
        return intent.trigger_time_ms + int(spread_ms * symbols.index(intent.symbol) / len(symbols))

    def alarm_ms(self, intent: Intent) -> int:
        """Return when a position that is still open is alarmed."""
        alarm_ms = intent.trigger_time_ms + round(self.flat_deadline_s * 1000)
        if intent.leg is not Leg.EXIT:
            return alarm_ms
        session, _ = self._rules(intent)
        latest_ms = session.exit_opens_ms(intent.day) + int(session.exit_lead_ms * _ALARM_SHARE)
        return min(alarm_ms, latest_ms) if intent.trigger_time_ms < latest_ms else alarm_ms

    def is_due(self, intent: Intent, now_ms: int) -> bool:
        """Return whether the exits of the intent's day have fallen due, so that nothing may stand in their way."""
        return now_ms >= self._rules(intent).session.exit_opens_ms(intent.day)

    def _rules(self, intent: Intent) -> DayRules:
        return self.rules_of(intent.strategy_version) or DayRules(self.session, self.symbols)
