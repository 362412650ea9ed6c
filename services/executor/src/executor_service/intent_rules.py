"""What the executor takes from the configuration that an intent was decided under: limits, exit window, symbols.

Leverage and the number of symbols stand in the intent itself. The signal keeps a configuration on the bus before it
decides anything under it.
"""

from breakwater_core.config import BreakwaterConfig, RiskSettings
from breakwater_core.events import Intent
from breakwater_runtime.config_versions import ConfigWatch
from breakwater_runtime.logs import get_logger
from executor_service.exit_schedule import DayRules


class IntentRules:
    """Configurations by the version that intents name."""

    def __init__(self, file: BreakwaterConfig, watch: ConfigWatch) -> None:
        """Use the file's configuration for a version that nobody has kept: its limits hold as well as any."""
        self._file = file
        self._watch = watch
        self._days: dict[str, DayRules] = {}
        self._unknown: set[str] = set()

    async def limits(self, intent: Intent) -> RiskSettings:
        """Return the limits of the intent's configuration.

        Raises:
            BusError: If the bus does not answer.
        """
        version = await self._watch.find(intent.strategy_version)
        if version is not None:
            return version.config.risk
        if intent.strategy_version not in self._unknown:
            self._unknown.add(intent.strategy_version)
            get_logger().warning("config_version_unknown", version=intent.strategy_version)
        return self._file.risk

    def of_day(self, strategy_version: str) -> DayRules | None:
        """Return session and symbols of a version that was read before; None: it was not."""
        known = self._days.get(strategy_version)
        if known is None and (version := self._watch.known(strategy_version)) is not None:
            config = version.config
            known = self._days[strategy_version] = DayRules(config.session.session(), config.portfolio.symbols)
        return known
