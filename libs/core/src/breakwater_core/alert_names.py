"""Every alert that a service publishes, by name; docs/runbook.md has an entry for each.

What nobody can name in advance cannot be counted, annotated or looked up, so a new alert begins here.
"""

from collections.abc import Mapping
from types import MappingProxyType

from breakwater_core.events import Severity

ALERT_SEVERITIES: Mapping[str, Severity] = MappingProxyType(
    dict.fromkeys(
        (
            "address_banned",
            "bus_away",
            "config_refused",
            "daily_loss_stop",
            "database_away",
            "day_open_not_flat",
            "dead_letter",
            "drawdown_stop",
            "egress_mismatch",
            "egress_unknown",
            "entry_lost",
            "fills_missing",
            "flatten_overdue",
            "key_refused",
            "ledger_mismatch",
            "liquidation",
            "order_unknown",
            "position_mismatch",
            "position_not_flat",
            "preflight_failed",
            "recording_refused",
            "secret_refused",
            "slack_away",
            "store_full",
            "subscription_refused",
            "symbols_not_prepared",
            "unordered_order",
            "unordered_position",
            "unordered_position_not_closed",
            "wallet_mismatch",
        ),
        Severity.CRITICAL,
    )
    | dict.fromkeys(
        (
            "bar_mismatch",
            "candle_late",
            "clock_stepped",
            "data_gap",
            "day_without_return",
            "secret_unreadable",
            "stream_silent",
            "symbol_not_followed",
            "symbol_not_trading",
        ),
        Severity.WARNING,
    )
    | dict.fromkeys(("config_switched", "flattened", "wallet_adjusted"), Severity.INFO)
)
"""The severity that each alert has as a rule."""
