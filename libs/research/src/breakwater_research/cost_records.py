"""What a backtest may be given beside a recording: recorded funding rates and spreads, in place of constants."""

import hashlib
from dataclasses import dataclass

from breakwater_recordings.funding import FundingRecords
from breakwater_recordings.spread import SpreadRecords


@dataclass(frozen=True, slots=True)
class CostRecords:
    """Records of costs; they stand outside of the configuration, and so of its version.

    Attributes:
        funding: Rates by symbol and stamp; None: `costs.funding_rate` at 00:00, 08:00 and 16:00 UTC.
        spreads: Best bids and asks; None, or where there is no recent one: `costs.slippage_bps` and
            `costs.slippage_range_share`.
    """

    funding: FundingRecords | None = None
    spreads: SpreadRecords | None = None

    def joined_to(self, fingerprint: str) -> str:
        """Return a recording's fingerprint with that of the records, if there are any: what a run is named by."""
        if self.funding is None and self.spreads is None:
            return fingerprint
        funding = "" if self.funding is None else self.funding.fingerprint
        spreads = "" if self.spreads is None else self.spreads.fingerprint
        return hashlib.sha256(f"{fingerprint}/{funding}/{spreads}".encode()).hexdigest()


NO_RECORDS = CostRecords()
"""Costs are those of the configuration."""
