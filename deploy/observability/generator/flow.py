"""Dashboard "Flow": from the trade to the decision, the order and the flat position."""

from deploy.observability.generator.parts import (
    BAD_ABOVE_ZERO,
    BARS,
    GOOD_AT_ONE,
    GREEN,
    NAMESPACE,
    RED,
    RUN,
    STACKED_BARS,
    STEPS,
    SYMBOL,
    YELLOW,
    Dashboard,
    Panel,
    Row,
    quantiles,
)

_OF = 'namespace=~"$namespace", run=~"$run"'
_OF_SYMBOL = f'{_OF}, symbol=~"$symbol"'

_LATENCY = Row(
    "Latency of trading",
    [
        Panel(
            title="Tick to intent",
            description="Live: the exchange's time of the trade until the bus has the intent, over an hour; contains the "
            "difference of the clocks. A replay has none.",
            unit="s",
            queries=[
                *quantiles("breakwater_signal_tick_to_intent_seconds", _OF),
                (f"run:breakwater_signal_tick_to_intent_seconds:p99_15m{{{_OF}}}", "{{run}} p99 of 15 min"),
            ],
            steps=((None, GREEN), (1, RED)),
            runbook="decisions_slow",
        ),
        Panel(
            title="Decision",
            description="A message of market data taken from the bus until the bus has the intent that it caused.",
            unit="s",
            queries=quantiles("breakwater_signal_decision_seconds", _OF),
            runbook="decisions_slow",
        ),
        Panel(
            title="Intent to request",
            description="An executor takes an intent until its first order is sent: checks, sizing, request budget, and for "
            "exits the spread over EXECUTOR_EXIT_SPREAD_S.",
            unit="s",
            queries=quantiles("breakwater_executor_intent_to_request_seconds", _OF, by="leg"),
        ),
        Panel(
            title="Request to answer",
            description="An order is sent until the exchange answers, by kind of answer. Unclear: the answer was lost.",
            unit="s",
            queries=[
                *quantiles("breakwater_executor_request_to_ack_seconds", _OF, by="answer"),
                (
                    f"run:breakwater_executor_request_to_ack_seconds:p99_15m{{{_OF}}}",
                    "{{run}} acknowledged p99 of 15 min",
                ),
            ],
            steps=((None, GREEN), (2, RED)),
            runbook="orders_slow",
        ),
        Panel(
            title="Time to flat",
            description="An exit is taken until the exchange reports the position flat. It must stay well below the exit lead (30 s).",
            unit="s",
            queries=quantiles("breakwater_executor_time_to_flat_seconds", _OF),
            steps=((None, GREEN), (20, RED)),
            runbook="position_not_flat",
        ),
        Panel(
            title="Trades to arrival and to the bus",
            description="Tick lag: the exchange's time of a trade until it is here. Publish lag: until the bus has it.",
            unit="s",
            queries=[
                *[
                    (expression, f"tick lag {legend}")
                    for expression, legend in quantiles("breakwater_market_data_tick_lag_seconds", _OF, window="5m")
                ],
                *[
                    (expression, f"publish lag {legend}")
                    for expression, legend in quantiles("breakwater_market_data_publish_lag_seconds", _OF, window="5m")
                ],
            ],
        ),
    ],
)

_TROUBLE = Row(
    "What needs a person",
    [
        Panel(
            title="Unknown orders",
            description="Orders of which nobody knows whether they exist. They are looked up until the exchange tells.",
            unit="short",
            queries=[
                (f"sum(breakwater_executor_unknown_orders{{{_OF}}})", "unknown"),
                (f"sum(breakwater_executor_unknown_orders_overdue{{{_OF}}})", "for too long"),
            ],
            kind="stat",
            width=6,
            height=5,
            steps=BAD_ABOVE_ZERO,
            runbook="order_unknown",
        ),
        Panel(
            title="Positions not flat in time",
            description="Exits past their deadline, and accounts ordered to be flat that are not proven so.",
            unit="short",
            queries=[
                (f"sum(breakwater_executor_positions_not_flat{{{_OF}}})", "exits"),
                (f"max(breakwater_executor_flattens_overdue{{{_OF}}})", "flattens"),
            ],
            kind="stat",
            width=6,
            height=5,
            steps=BAD_ABOVE_ZERO,
            runbook="position_not_flat",
        ),
        Panel(
            title="Executors ready",
            description="Processes of the order role of which every readiness condition holds.",
            unit="short",
            queries=[(f"run:breakwater_executors_ready:count{{{_OF}}}", "{{run}}")],
            kind="stat",
            width=6,
            height=5,
            steps=GOOD_AT_ONE,
            runbook="executors_missing",
        ),
        Panel(
            title="Age of the market's clock",
            description="How far the newest clock that signal has seen is behind the wall clock; live only. Below one second.",
            unit="s",
            queries=[(f"run:breakwater_market_time_age:seconds{{{_OF}}}", "{{run}}")],
            kind="stat",
            width=6,
            height=5,
            steps=((None, GREEN), (5, YELLOW), (30, RED)),
            runbook="market_data_stopped",
        ),
    ],
)

_SIGNAL = Row(
    "Signal",
    [
        Panel(
            title="Distance to the nearest target",
            description="How far each price is from the target that it is nearest to, as a share. The smaller, the sooner an entry.",
            unit="percentunit",
            queries=[(f"min by (symbol) (breakwater_signal_distance_ratio{{{_OF_SYMBOL}}})", "{{symbol}}")],
            width=12,
            decimals=2,
            minimum=0,
        ),
        Panel(
            title="Symbols that may be entered",
            description="Green: an entry is possible today. Red: entered already, incomplete data, or outside the targets when first seen.",
            unit="short",
            queries=[(f"max by (symbol) (breakwater_signal_tradable{{{_OF_SYMBOL}}})", "{{symbol}}")],
            kind="state-timeline",
            width=12,
            mappings=(("0", "blocked", RED), ("1", "tradable", GREEN)),
            steps=GOOD_AT_ONE,
            runbook="data_gap",
        ),
        Panel(
            title="Intents decided",
            description="Intents published by signal, by leg. With two hot signal processes each counts its own.",
            unit="short",
            queries=[
                (f"sum by (leg) (increase(breakwater_signal_intents_total{{{_OF}}}[$__rate_interval]))", "{{leg}}")
            ],
            custom=STACKED_BARS,
        ),
        Panel(
            title="What executors are scaled by",
            description="Intents that no executor has finished, symbols within SIGNAL_NEAR_TARGET_RATIO of an entry, and exits that are due soon.",
            unit="short",
            queries=[
                (f"max by (run) (breakwater_signal_intents_waiting{{{_OF}}})", "{{run}} intents waiting"),
                (f"max by (run) (breakwater_signal_symbols_near_target{{{_OF}}})", "{{run}} symbols near"),
                (f"max by (run) (breakwater_signal_exits_due{{{_OF}}})", "{{run}} exits due"),
            ],
            custom=STEPS,
            minimum=0,
            runbook="intents_waiting",
        ),
        Panel(
            title="Age of the count of waiting intents",
            description="How long ago signal has last asked the bus how many intents wait; some seconds.",
            unit="s",
            queries=[
                (f"time() - max by (run) (breakwater_signal_intents_polled_timestamp_seconds{{{_OF}}} > 0)", "{{run}}")
            ],
            minimum=0,
        ),
        Panel(
            title="Trades seen by the strategy",
            description="Trades that signal has taken from the bus and looked at.",
            unit="cps",
            queries=[(f"sum by (run) (rate(breakwater_signal_trades_total{{{_OF}}}[$__rate_interval]))", "{{run}}")],
        ),
    ],
)

_EXECUTOR = Row(
    "Executors",
    [
        Panel(
            title="Order events by status",
            description="Events that the order role has published: orders that entered a state, and intents that ended without one.",
            unit="short",
            queries=[
                (
                    f"sum by (status) (increase(breakwater_executor_orders_total{{{_OF}}}[$__rate_interval]))",
                    "{{status}}",
                )
            ],
            custom=STACKED_BARS,
        ),
        Panel(
            title="Refusals by rule",
            description="Entries that a rule of ours refused. A refusal is a decision, not a fault.",
            unit="short",
            queries=[
                (f"sum by (rule) (increase(breakwater_executor_refused_total{{{_OF}}}[$__rate_interval]))", "{{rule}}")
            ],
            custom=STACKED_BARS,
        ),
        Panel(
            title="Refusals by the exchange",
            description="Orders that the exchange refused, by its code.",
            unit="short",
            queries=[
                (
                    f"sum by (code) (increase(breakwater_executor_rejected_total{{{_OF}}}[$__rate_interval])) or on () vector(0)",
                    "{{code}}",
                )
            ],
            custom=STACKED_BARS,
        ),
        Panel(
            title="Intents in hand",
            description="Intents that executors work on now, each process for itself.",
            unit="short",
            queries=[(f'breakwater_executor_intents_in_hand{{{_OF}, service="executor-order"}}', "{{instance}}")],
            custom=STEPS,
            minimum=0,
        ),
        Panel(
            title="Orders sent again, queries without answer",
            description="Orders sent again under the same id, and queries to the exchange that got no usable answer.",
            unit="short",
            queries=[
                (f"sum(increase(breakwater_executor_resent_total{{{_OF}}}[$__rate_interval]))", "sent again"),
                (
                    f"sum by (kind) (increase(breakwater_executor_query_failures_total{{{_OF}}}[$__rate_interval]))",
                    "no answer: {{kind}}",
                ),
            ],
            custom=BARS,
            runbook="order_unknown",
        ),
        Panel(
            title="Bus away from executors",
            description="For how long an executor has been without the bus; it goes on with the exits in hand.",
            unit="s",
            queries=[(f"max by (instance) (breakwater_executor_bus_down_seconds{{{_OF}}})", "{{instance}}")],
            steps=((None, GREEN), (10, RED)),
            minimum=0,
            runbook="bus_away",
        ),
    ],
)

_BUDGET = Row(
    "Request budget",
    [
        Panel(
            title="Requests left",
            description="What an exit could still send: of the address within 5 s, of an account at an endpoint within 1 s. "
            "-1: the budget is not used, as in a replay.",
            unit="short",
            queries=[(f"min by (window) (breakwater_budget_left_requests{{{_OF}}}) or on () vector(-1)", "{{window}}")],
            custom=STEPS,
            runbook="budget_exhausted",
        ),
        Panel(
            title="Wait for leave",
            description="Time that a request waited for leave, over 5 minutes, by priority. Exits hardly wait.",
            unit="s",
            queries=[
                (f"run_priority:breakwater_budget_wait_seconds:p99_5m{{{_OF}}}", "{{priority}} p99 of 5 min"),
                *quantiles("breakwater_budget_wait_seconds", _OF, by="priority"),
            ],
            steps=((None, GREEN), (1, RED)),
            runbook="budget_exhausted",
        ),
        Panel(
            title="Requests let go",
            description="By priority and by whose share: shared, or a process's own while the bus is away.",
            unit="cps",
            queries=[
                (
                    f"sum by (priority, share) (rate(breakwater_budget_grants_total{{{_OF}}}[$__rate_interval]))",
                    "{{priority}} {{share}}",
                )
            ],
        ),
        Panel(
            title="Too many requests",
            description="Requests that the exchange refused with 10006, and bans of this address (403). Both are 0.",
            unit="short",
            queries=[
                (
                    f"sum by (endpoint) (increase(breakwater_budget_limited_total{{{_OF}}}[$__rate_interval])) or on () vector(0)",
                    "limited {{endpoint}}",
                ),
                (f"sum(increase(breakwater_budget_bans_total{{{_OF}}}[$__rate_interval]))", "bans"),
                (f"clamp_min(max(breakwater_budget_banned_until_seconds{{{_OF}}}) - time(), 0)", "seconds of ban left"),
            ],
            steps=BAD_ABOVE_ZERO,
            custom=BARS,
            runbook="address_banned",
        ),
        Panel(
            title="Writes of the shared budget",
            description="Conflict: another process was faster, so the write is tried again.",
            unit="cps",
            queries=[
                (f"sum by (outcome) (rate(breakwater_budget_writes_total{{{_OF}}}[$__rate_interval]))", "{{outcome}}")
            ],
        ),
        Panel(
            title="Budget is shared",
            description="1 while the budget is shared over the bus; 0 while the bus is away and only exits go by a process's own share. "
            "Not a number where it is not used, as in a replay.",
            unit="short",
            queries=[(f"min by (service, instance) (breakwater_budget_shared{{{_OF}}})", "{{service}} {{instance}}")],
            kind="stat",
            mappings=(("0", "alone", RED), ("1", "shared", GREEN), ("NaN", "not used", "text")),
            steps=GOOD_AT_ONE,
        ),
    ],
)

_MARKET = Row(
    "Market data",
    [
        Panel(
            title="Trades published",
            description="Trades that market-data has put on the bus.",
            unit="cps",
            queries=[
                (
                    f"sum by (symbol) (rate(breakwater_market_data_trades_total{{{_OF_SYMBOL}}}[$__rate_interval]))",
                    "{{symbol}}",
                )
            ],
        ),
        Panel(
            title="Silence by symbol",
            description="Time since a symbol's last frame. Quiet symbols are asked for over REST.",
            unit="s",
            queries=[(f"max by (symbol) (breakwater_market_data_staleness_seconds{{{_OF_SYMBOL}}})", "{{symbol}}")],
            minimum=0,
            runbook="stream_silent",
        ),
        Panel(
            title="Gaps by what became of them",
            description="Interruptions of the feed. Unfilled: the symbol is not entered any more today.",
            unit="short",
            queries=[
                (
                    f"sum by (outcome) (increase(breakwater_market_data_gaps_total{{{_OF}}}[$__rate_interval]))",
                    "{{outcome}}",
                ),
                (f"sum(increase(breakwater_market_data_reconnects_total{{{_OF}}}[$__rate_interval]))", "reconnects"),
            ],
            custom=BARS,
            runbook="data_gap",
        ),
        Panel(
            title="Trades not published",
            description="Duplicates, trades older than the newest published, and block trades off the book.",
            unit="short",
            queries=[
                (
                    f"sum by (reason) (increase(breakwater_market_data_trades_dropped_total{{{_OF}}}[$__rate_interval]))",
                    "{{reason}}",
                )
            ],
            custom=STACKED_BARS,
        ),
        Panel(
            title="Days that disagree with the exchange's candle",
            description="Complete days whose trades, as received, gave another bar than the exchange. 0 is usual.",
            unit="short",
            queries=[
                (
                    (
                        f"sum by (symbol) (increase(breakwater_market_data_bar_mismatches_total{{{_OF_SYMBOL}}}[$__range]))"
                        " or on () vector(0)"
                    ),
                    "{{symbol}}",
                )
            ],
            kind="bargauge",
            minimum=0,
            steps=BAD_ABOVE_ZERO,
            runbook="bar_mismatch",
        ),
        Panel(
            title="Messages not acknowledged yet",
            description="What market-data has sent and the bus has not acknowledged, or still waits to be sent. It ends at 50,000.",
            unit="short",
            queries=[(f"max by (run) (breakwater_market_data_outstanding_messages{{{_OF}}})", "{{run}}")],
            minimum=0,
            runbook="bus_away",
        ),
    ],
)

_REPLAY = Row(
    "Replay",
    [
        Panel(
            title="Windows",
            description="Windows of the lock-step decided by signal, and the last one whose clock was published. 0 when live.",
            unit="short",
            queries=[
                (
                    f"sum by (run) (rate(breakwater_signal_windows_total{{{_OF}}}[$__rate_interval]))",
                    "{{run}} decided a second",
                ),
                (f"max by (run) (breakwater_market_data_replay_window{{{_OF}}})", "{{run}} last published"),
            ],
            width=12,
        ),
        Panel(
            title="Wait of the lock-step",
            description="Time that the replay waited for a participant before it went on; mean of a window. 0 when live.",
            unit="s",
            queries=[
                (
                    (
                        f"sum by (participant) (rate(breakwater_market_data_lockstep_wait_seconds_sum{{{_OF}}}[5m]))"
                        f" / (sum by (participant) (rate(breakwater_market_data_lockstep_wait_seconds_count{{{_OF}}}[5m])) > 0)"
                        " or on () vector(0)"
                    ),
                    "{{participant}}",
                )
            ],
            width=12,
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="breakwater-flow",
    title="Breakwater / Flow",
    description="From the trade to the decision, the order and the flat position, by run and symbol.",
    variables=[NAMESPACE, RUN, SYMBOL],
    rows=[_TROUBLE, _LATENCY, _SIGNAL, _EXECUTOR, _BUDGET, _MARKET, _REPLAY],
)
