"""Dashboard "Money": what the accounts have, hold, earned and paid."""

from deploy.observability.generator.parts import (
    ACCOUNT,
    BAD_ABOVE_ZERO,
    BARS,
    BPS,
    GREEN,
    NAMESPACE,
    RED,
    RUN,
    STACKED,
    STACKED_BARS,
    STEPS,
    SYMBOL,
    USDT,
    YELLOW,
    Dashboard,
    Panel,
    Row,
)

_OF = 'namespace=~"$namespace", run=~"$run", account=~"$account"'
_OF_SYMBOL = f'{_OF}, symbol=~"$symbol"'
_LOSS_STEPS = ((None, RED), (0, GREEN))
_DRAWDOWN_STEPS = ((None, GREEN), (0.15, YELLOW), (0.25, RED))


def _latest(metric: str, by: str = "run, account") -> str:
    """Every reporter of a run shows the same: one of them is enough."""
    return f"max by ({by}) ({metric}{{{_OF}}})"


_NOW = Row(
    "Now",
    [
        Panel(
            title="Equity",
            description="Equity as the exchange states it, open positions at their mark price.",
            unit=USDT,
            queries=[(_latest("breakwater_equity"), "{{account}}")],
            kind="stat",
            width=4,
            height=5,
            decimals=0,
        ),
        Panel(
            title="Return today",
            description="Gain since the day's opening. A deposit of today counts as gain until the day is closed.",
            unit="percentunit",
            queries=[(f"run_account:breakwater_equity_today:ratio{{{_OF}}}", "{{account}}")],
            kind="stat",
            width=3,
            height=5,
            steps=_LOSS_STEPS,
            decimals=2,
        ),
        Panel(
            title="Cumulative return",
            description="Product of the daily returns of the closed days, deposits and withdrawals taken out.",
            unit="percentunit",
            queries=[(f"{_latest('breakwater_cumulative')} - 1", "{{account}}")],
            kind="stat",
            width=4,
            height=5,
            steps=_LOSS_STEPS,
            decimals=2,
        ),
        Panel(
            title="Drawdown now",
            description="Distance from the peak, today's equity included. Alerts at 15 % and 25 %.",
            unit="percentunit",
            queries=[(f"run_account:breakwater_drawdown_running:ratio{{{_OF}}}", "{{account}}")],
            kind="stat",
            width=3,
            height=5,
            steps=_DRAWDOWN_STEPS,
            decimals=2,
            runbook="drawdown_high",
        ),
        Panel(
            title="Largest drawdown",
            description="MDD: the largest drawdown at the end of a day so far.",
            unit="percentunit",
            queries=[(_latest("breakwater_max_drawdown"), "{{account}}")],
            kind="stat",
            width=3,
            height=5,
            steps=_DRAWDOWN_STEPS,
            decimals=2,
        ),
        Panel(
            title="Gross exposure",
            description="Value of all positions, long and short, as a share of equity; the configuration aims at its "
            "gross leverage (default 2) when every symbol is entered.",
            unit="percentunit",
            queries=[(f"run_account:breakwater_exposure_gross:ratio{{{_OF}}}", "{{account}}")],
            kind="stat",
            width=4,
            height=5,
            steps=((None, GREEN), (2.5, YELLOW), (4, RED)),
            decimals=2,
        ),
        Panel(
            title="Open positions",
            description="Symbols held, by the last account snapshot.",
            unit="short",
            queries=[(f"run_account:breakwater_positions_open:count{{{_OF}}}", "{{account}}")],
            kind="stat",
            width=3,
            height=5,
            decimals=0,
        ),
    ],
)

_RETURNS = Row(
    "Equity and return",
    [
        Panel(
            title="Equity and wallet",
            description="The wallet moves when something is realised, paid or transferred; equity moves with every price.",
            unit=USDT,
            queries=[
                (_latest("breakwater_equity"), "{{account}} equity"),
                (_latest("breakwater_wallet_balance"), "{{account}} wallet"),
                (_latest("breakwater_executor_equity"), "{{account}} equity, account role"),
            ],
            width=12,
            custom={"fillOpacity": 0},
        ),
        Panel(
            title="Drawdown",
            description="Running: with today's equity. Closed: at the last day's end. Largest: MDD of the closed days.",
            unit="percentunit",
            queries=[
                (f"run_account:breakwater_drawdown_running:ratio{{{_OF}}}", "{{account}} running"),
                (_latest("breakwater_drawdown"), "{{account}} closed"),
                (_latest("breakwater_max_drawdown"), "{{account}} largest"),
            ],
            width=12,
            steps=_DRAWDOWN_STEPS,
            minimum=0,
            runbook="drawdown_high",
        ),
        Panel(
            title="Return by day",
            description="Return of the last closed day, deposits and withdrawals taken out.",
            unit="percentunit",
            queries=[(_latest("breakwater_daily_return"), "{{account}}")],
            width=8,
            custom=STEPS,
        ),
        Panel(
            title="Return since the day's opening",
            description="Equity now against the equity at the running day's opening.",
            unit="percentunit",
            queries=[(f"run_account:breakwater_equity_today:ratio{{{_OF}}}", "{{account}}")],
            width=8,
        ),
        Panel(
            title="Days closed",
            description="Days for which a row of daily performance was written and announced.",
            unit="short",
            queries=[
                (f"sum by (run, account) (increase(breakwater_days_closed_total{{{_OF}}}[$__range]))", "{{account}}")
            ],
            kind="stat",
            width=8,
            decimals=0,
        ),
    ],
)

_POSITIONS = Row(
    "Positions",
    [
        Panel(
            title="Value by symbol",
            description="Open positions at their mark prices; negative is short. All are flat at the end of a day.",
            unit=USDT,
            queries=[
                (f"max by (run, account, symbol) (breakwater_position_value{{{_OF_SYMBOL}}})", "{{account}} {{symbol}}")
            ],
            width=12,
            custom=STACKED | STEPS,
            runbook="position_not_flat",
        ),
        Panel(
            title="Open result by symbol",
            description="Unrealised result of the open positions at mark prices.",
            unit=USDT,
            queries=[
                (f"max by (run, account, symbol) (breakwater_unrealised_pnl{{{_OF_SYMBOL}}})", "{{account}} {{symbol}}")
            ],
            width=12,
        ),
        Panel(
            title="Size by symbol",
            description="Open positions in base units; negative is short.",
            unit="short",
            queries=[
                (f"max by (run, account, symbol) (breakwater_position_size{{{_OF_SYMBOL}}})", "{{account}} {{symbol}}")
            ],
            width=12,
            custom=STEPS,
        ),
        Panel(
            title="Gross exposure",
            description="Value of all positions, long and short, as a share of equity.",
            unit="percentunit",
            queries=[(f"run_account:breakwater_exposure_gross:ratio{{{_OF}}}", "{{account}}")],
            width=12,
            minimum=0,
        ),
    ],
)

_COSTS = Row(
    "Costs",
    [
        Panel(
            title="Slippage against the target",
            description="How much worse than their targets orders filled, mean of an hour; negative is better. "
            "An exit's target is the price at which it was decided.",
            unit=BPS,
            queries=[
                (
                    (
                        f'(sum by (account, leg) (increase(breakwater_slippage_bps_total{{{_OF}, direction="worse"}}[1h]))'
                        f' - sum by (account, leg) (increase(breakwater_slippage_bps_total{{{_OF}, direction="better"}}[1h])))'
                        f" / (sum by (account, leg) (increase(breakwater_target_slippage_bps_count{{{_OF}}}[1h])) > 0)"
                    ),
                    "{{account}} {{leg}}",
                )
            ],
            steps=((None, GREEN), (30, RED)),
            runbook="slippage_high",
        ),
        Panel(
            title="Slippage, spread of a day",
            description="p50 and p99 over a day, all legs. The mean is what the alert looks at.",
            unit=BPS,
            queries=[
                (
                    f"histogram_quantile({share}, sum by (account, le) (rate(breakwater_target_slippage_bps_bucket{{{_OF}}}[1d])))",
                    f"{{{{account}}}} {name}",
                )
                for share, name in ((0.5, "p50"), (0.99, "p99"))
            ]
            + [(f"run_account:breakwater_target_slippage_bps:mean1d{{{_OF}}}", "{{account}} mean")],
            runbook="slippage_high",
        ),
        Panel(
            title="Fees and funding",
            description="Paid since the run began; funding below zero was received.",
            unit=USDT,
            queries=[
                (_latest("breakwater_fees_paid"), "{{account}} fees"),
                (_latest("breakwater_funding_paid"), "{{account}} funding"),
            ],
            custom=STEPS,
        ),
        Panel(
            title="Parity cost of the last compared day",
            description="What a day cost more than the backtest of its own recording, basis points of the day-open equity. "
            "0 as long as no day was compared (REPORTER_RECORDINGS).",
            unit=BPS,
            queries=[(f"{_latest('breakwater_parity_cost_bps')} or on () vector(0)", "{{account}}")],
            kind="stat",
            steps=((None, GREEN), (20, RED)),
            decimals=2,
            runbook="parity_cost_high",
        ),
        Panel(
            title="Days compared with their backtests",
            description="Equal within the tolerances, different, or not comparable for want of a complete recording.",
            unit="short",
            queries=[
                (
                    'sum by (outcome) (increase(breakwater_parity_days_total{namespace=~"$namespace", run=~"$run"}[$__range]))',
                    "{{outcome}}",
                )
            ],
            kind="bargauge",
            minimum=0,
            decimals=0,
            runbook="parity_cost_high",
        ),
    ],
)

_ORDERS = Row(
    "Orders and fills",
    [
        Panel(
            title="Orders by state entered",
            description="Orders and intents that entered each state, as the books have it.",
            unit="short",
            queries=[
                (f"sum by (status) (increase(breakwater_order_states_total{{{_OF}}}[$__rate_interval]))", "{{status}}")
            ],
            width=12,
            custom=STACKED_BARS,
        ),
        Panel(
            title="Executions by kind",
            description="Trades, funding payments, liquidations and others that the books have taken in.",
            unit="short",
            queries=[(f"sum by (kind) (increase(breakwater_fills_total{{{_OF}}}[$__rate_interval]))", "{{kind}}")],
            width=12,
            custom=STACKED_BARS,
        ),
    ],
)

_BOOKS = Row(
    "Books against the exchange",
    [
        Panel(
            title="Differences of money",
            description="Ledger: the exchange's wallet less our ledger at the last day's opening. Account role: the wallet less "
            "the sum of what moved it, compared again and again. Both are 0.",
            unit=USDT,
            queries=[
                (_latest("breakwater_ledger_difference"), "{{account}} ledger"),
                (_latest("breakwater_executor_wallet_difference"), "{{account}} wallet"),
            ],
            steps=BAD_ABOVE_ZERO,
            runbook="ledger_mismatch",
        ),
        Panel(
            title="Differences of positions",
            description="Positions that are not the sum of their fills, and positions with a part that no intent ordered. Both are 0.",
            unit="short",
            queries=[
                (_latest("breakwater_executor_position_differences"), "{{account}} differ"),
                (_latest("breakwater_executor_unordered_positions"), "{{account}} not ordered"),
            ],
            steps=BAD_ABOVE_ZERO,
            runbook="position_mismatch",
        ),
        Panel(
            title="Fills that the books lack",
            description="Executions that the account has counted and the database has not; above 0 for moments only.",
            unit="short",
            queries=[(_latest("breakwater_ledger_lag_fills"), "{{account}}")],
            steps=BAD_ABOVE_ZERO,
            runbook="reporter_behind",
        ),
        Panel(
            title="Reconciliations by outcome",
            description="Comparisons of orders, positions and wallet with the books. Unsettled: the account did not stand still.",
            unit="short",
            queries=[
                (
                    f"sum by (outcome) (increase(breakwater_executor_reconciliations_total{{{_OF}}}[$__rate_interval]))",
                    "{{outcome}}",
                )
            ],
            width=12,
            custom=STACKED_BARS,
            runbook="position_mismatch",
        ),
        Panel(
            title="Orders that close what nobody ordered",
            description="Sent only under EXECUTOR_UNORDERED=close, by the exchange's answer.",
            unit="short",
            queries=[
                (
                    f"sum by (answer) (increase(breakwater_executor_unordered_closings_total{{{_OF}}}[$__rate_interval]))",
                    "{{answer}}",
                )
            ],
            width=12,
            custom=BARS,
            runbook="unordered_position",
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="breakwater-money",
    title="Breakwater / Money",
    description="Equity, return, drawdown, positions, costs and books by run and account.",
    variables=[NAMESPACE, RUN, ACCOUNT, SYMBOL],
    rows=[_NOW, _RETURNS, _POSITIONS, _COSTS, _ORDERS, _BOOKS],
    time_from="now-24h",
)
