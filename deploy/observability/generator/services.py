"""Dashboard "Services": processes, their readiness and resources, and their ways to the outside."""

from deploy.observability.generator.parts import (
    ACCOUNT,
    BARS,
    GOOD_AT_ONE,
    GREEN,
    NAMESPACE,
    RED,
    RUN,
    SERVICE,
    STACKED,
    STACKED_BARS,
    STEPS,
    YELLOW,
    Dashboard,
    Panel,
    Row,
    quantiles,
)

_OF = 'namespace=~"$namespace", run=~"$run", service=~"$service"'
_RUN = 'namespace=~"$namespace", run=~"$run"'
_ACCOUNT = 'namespace=~"$namespace", run=~"$run", account=~"$account"'
_PROCESS = "{{service}} {{instance}}"

_STATE = Row(
    "State",
    [
        Panel(
            title="Processes that answer",
            description="Targets that Prometheus could scrape, of each service.",
            unit="short",
            queries=[
                ('sum by (service) (up{job="breakwater", namespace=~"$namespace", service=~"$service"})', "{{service}}")
            ],
            kind="stat",
            width=9,
            steps=GOOD_AT_ONE,
            decimals=0,
            runbook="service_down",
        ),
        Panel(
            title="Readiness",
            description="Green while every condition of a process holds. Its /ready tells why one does not.",
            unit="short",
            queries=[
                (
                    f"min by (service, instance, condition) (breakwater_ready{{{_OF}}})",
                    "{{service}} {{instance}} {{condition}}",
                )
            ],
            kind="state-timeline",
            width=15,
            mappings=(("0", "not ready", RED), ("1", "ready", GREEN)),
            steps=GOOD_AT_ONE,
            runbook="not_ready",
        ),
        Panel(
            title="Versions",
            description="Which version each service runs, for which run.",
            unit="short",
            queries=[(f"count by (service, version, run) (breakwater_build_info{{{_OF}}})", "")],
            kind="table",
            width=9,
            instant=True,
        ),
        Panel(
            title="Starts",
            description="Starts within the range shown, by process.",
            unit="short",
            queries=[(f"changes(process_start_time_seconds{{{_OF}}}[$__range])", _PROCESS)],
            kind="bargauge",
            width=7,
            minimum=0,
            steps=((None, GREEN), (1, YELLOW), (3, RED)),
            decimals=0,
            runbook="restarting",
        ),
        Panel(
            title="Entries halted",
            description="1 while a person has halted entries: of an account, or of all (*).",
            unit="short",
            queries=[(f"max by (account) (breakwater_halted{{{_RUN}}})", "{{account}}")],
            kind="state-timeline",
            width=8,
            mappings=(("0", "entries allowed", GREEN), ("1", "halted", RED)),
            steps=((None, GREEN), (1, RED)),
            runbook="halted",
        ),
    ],
)

_RESOURCES = Row(
    "Resources",
    [
        Panel(
            title="Memory",
            description="Resident memory of each process.",
            unit="bytes",
            queries=[(f"process_resident_memory_bytes{{{_OF}}}", _PROCESS)],
            minimum=0,
        ),
        Panel(
            title="Processor",
            description="Share of one core that each process uses. The services are single-threaded but for a few helpers.",
            unit="percentunit",
            queries=[(f"rate(process_cpu_seconds_total{{{_OF}}}[$__rate_interval])", _PROCESS)],
            minimum=0,
        ),
        Panel(
            title="Event loop lag, p99",
            description="How much later than asked a task is woken, over 5 minutes. It is added to every latency of the process.",
            unit="s",
            queries=[(f"service_instance:breakwater_event_loop_lag_seconds:p99_5m{{{_OF}}}", _PROCESS)],
            steps=((None, GREEN), (0.25, RED)),
            minimum=0,
            runbook="event_loop_slow",
        ),
        Panel(
            title="Open file descriptors",
            description="Share of what the process may open.",
            unit="percentunit",
            queries=[(f"process_open_fds{{{_OF}}} / process_max_fds{{{_OF}}}", _PROCESS)],
            steps=((None, GREEN), (0.8, RED)),
            minimum=0,
            runbook="file_descriptors_short",
        ),
        Panel(
            title="Garbage collections",
            description="Collections of the oldest generation, which stop the process for longest.",
            unit="cps",
            queries=[
                (
                    f'sum by (service, instance) (rate(python_gc_collections_total{{{_OF}, generation="2"}}[$__rate_interval]))',
                    _PROCESS,
                )
            ],
            minimum=0,
        ),
        Panel(
            title="Alerts of the services",
            description="Alerts that services have published, by name, as the reporter has kept them.",
            unit="short",
            queries=[
                (
                    f"sum by (name, severity) (increase(breakwater_alerts_total{{{_RUN}}}[$__rate_interval])) > 0 or on () vector(0)",
                    "{{severity}} {{name}}",
                )
            ],
            custom=STACKED_BARS,
        ),
    ],
)

_EXCHANGE = Row(
    "Way to the exchange",
    [
        Panel(
            title="Egress address",
            description="Whether requests leave from an expected address, by account; not checked unless addresses are expected.",
            unit="short",
            queries=[
                (f"min by (account) (breakwater_egress_matched{{{_ACCOUNT}}}) or on () vector(-1)", "{{account}}")
            ],
            kind="stat",
            width=6,
            mappings=(("-1", "not checked", "text"), ("0", "mismatch", RED), ("1", "matched", GREEN)),
            steps=((None, "text"), (0, RED), (1, GREEN)),
            runbook="egress_mismatch",
        ),
        Panel(
            title="Checks of the egress address",
            description="Comparisons by outcome, and how long ago the address was last known. 0 where it is not checked.",
            unit="short",
            queries=[
                (
                    f"sum by (outcome) (increase(breakwater_egress_checks_total{{{_ACCOUNT}}}[$__rate_interval])) or on () vector(0)",
                    "{{outcome}}",
                ),
                (
                    f"time() - min by (account) (breakwater_egress_last_known_timestamp_seconds{{{_ACCOUNT}}}) or on () vector(0)",
                    "{{account}} seconds since known",
                ),
            ],
            width=6,
            custom=STEPS,
            runbook="egress_unknown",
        ),
        Panel(
            title="Checks that keep an account from entering",
            description="Failures of the preflight: key, permissions, modes, leverage, clock. 0 is usual.",
            unit="short",
            queries=[(f"max by (account) (breakwater_executor_preflight_failures{{{_ACCOUNT}}})", "{{account}}")],
            kind="stat",
            width=6,
            steps=((None, GREEN), (1, RED)),
            runbook="preflight_failed",
        ),
        Panel(
            title="Clock against the exchange's",
            description="Exchange time less this machine's, as market-data has last measured it; 0 in a replay.",
            unit="s",
            queries=[
                (
                    f'max by (instance) (breakwater_market_data_clock_offset_seconds{{{_RUN}, service="market-data"}})',
                    "{{instance}}",
                )
            ],
            width=6,
            runbook="clock_off",
        ),
        Panel(
            title="Private stream",
            description="1 while the account's private stream is up; its drops within the interval.",
            unit="short",
            queries=[
                (
                    f'min by (account) (breakwater_executor_private_stream_connected{{{_ACCOUNT}, service="executor-account"}})',
                    "{{account}} up",
                ),
                (
                    f"sum by (account) (increase(breakwater_executor_private_stream_drops_total{{{_ACCOUNT}}}[$__rate_interval]))",
                    "{{account}} drops",
                ),
            ],
            custom=STEPS,
            minimum=0,
            runbook="private_stream_down",
        ),
        Panel(
            title="Frames of the private stream",
            description="What the exchange has pushed, by topic.",
            unit="cps",
            queries=[
                (
                    f"sum by (topic) (rate(breakwater_executor_private_frames_total{{{_ACCOUNT}}}[$__rate_interval])) or on () vector(0)",
                    "{{topic}}",
                )
            ],
        ),
        Panel(
            title="Executions published",
            description="By where they were learnt first: pushed by the stream, or read over REST. And readings over REST by outcome.",
            unit="short",
            queries=[
                (
                    f"sum by (source) (increase(breakwater_executor_fills_published_total{{{_ACCOUNT}}}[$__rate_interval]))",
                    "from {{source}}",
                ),
                (
                    f"sum by (outcome) (increase(breakwater_executor_catch_ups_total{{{_ACCOUNT}}}[$__rate_interval]))",
                    "reading: {{outcome}}",
                ),
                (
                    f"sum by (account) (increase(breakwater_executor_day_opens_total{{{_ACCOUNT}}}[$__rate_interval]))",
                    "{{account}} days opened",
                ),
            ],
            custom=BARS,
        ),
    ],
)

_REPORTER = Row(
    "Reporter and notifier",
    [
        Panel(
            title="Transactions of the reporter",
            description="Time of one transaction with the work in it, over 5 minutes.",
            unit="s",
            queries=quantiles("breakwater_reporter_commit_seconds", _RUN, window="5m"),
            runbook="reporter_behind",
        ),
        Panel(
            title="Messages in a transaction",
            description="How many messages share one commit, mean of 5 minutes; many mean a slow disk or a burst.",
            unit="short",
            queries=[
                (
                    (
                        f"sum by (run) (rate(breakwater_reporter_commit_messages_sum{{{_RUN}}}[5m]))"
                        f" / (sum by (run) (rate(breakwater_reporter_commit_messages_count{{{_RUN}}}[5m])) > 0)"
                    ),
                    "{{run}}",
                )
            ],
            runbook="reporter_behind",
        ),
        Panel(
            title="Waiting to be told",
            description="Messages that the notifier has not told yet: in hand and still in the stream.",
            unit="short",
            queries=[(f"max by (consumer) (breakwater_notifier_pending{{{_RUN}}})", "{{consumer}}")],
            minimum=0,
            runbook="slack_away",
        ),
        Panel(
            title="Events told",
            description="By what became of telling them, and how many of them shared a message.",
            unit="short",
            queries=[
                (
                    f"sum by (outcome) (increase(breakwater_notifier_posted_total{{{_RUN}}}[$__rate_interval]))",
                    "{{outcome}}",
                ),
                (f"sum(increase(breakwater_notifier_grouped_total{{{_RUN}}}[$__rate_interval]))", "in a summary"),
            ],
            custom=STACKED_BARS,
        ),
        Panel(
            title="Attempts to post",
            description="Messages to Slack by outcome; without a token they are printed.",
            unit="short",
            queries=[
                (
                    f"sum by (outcome) (increase(breakwater_notifier_posts_total{{{_RUN}}}[$__rate_interval]))",
                    "{{outcome}}",
                )
            ],
            custom=STACKED | BARS,
            runbook="slack_away",
        ),
        Panel(
            title="Time to post",
            description="From sending a message to its outcome, over an hour.",
            unit="s",
            queries=quantiles("breakwater_notifier_post_seconds", _RUN),
            runbook="slack_away",
        ),
    ],
)

_SECRETS = Row(
    "Secrets",
    [
        Panel(
            title="Readings of secrets",
            description="Secrets that come from files, S3 or Secrets Manager are read again and again: unchanged, taken into use, "
            "refused by what uses them, or unreadable. 0 where they are given as values.",
            unit="short",
            queries=[
                (
                    f"sum by (secret, outcome) (increase(breakwater_secret_refreshes_total{{{_OF}}}[$__rate_interval])) or on () vector(0)",
                    "{{secret}} {{outcome}}",
                )
            ],
            width=12,
            custom=STACKED_BARS,
            runbook="secret_unreadable",
        ),
        Panel(
            title="Age of secrets",
            description="How long ago a process has last read each secret; about SECRETS_REFRESH_S (30 s) at most. 0 where they are given as values.",
            unit="s",
            queries=[
                (
                    f"time() - min by (service, secret) (breakwater_secret_last_read_timestamp_seconds{{{_OF}}}) or on () vector(0)",
                    "{{service}} {{secret}}",
                )
            ],
            width=12,
            steps=((None, GREEN), (300, RED)),
            minimum=0,
            runbook="secret_unreadable",
        ),
    ],
)

_TRACES = Row(
    "Keys and traces",
    [
        Panel(
            title="New keys of the exchange",
            description="New keys of an account by what became of them: tried and used, or refused by the exchange. 0 is usual.",
            unit="short",
            queries=[
                (
                    f"sum by (account, outcome) (increase(breakwater_executor_key_rotations_total{{{_ACCOUNT}}}[$__rate_interval])) or on () vector(0)",
                    "{{account}} {{outcome}}",
                )
            ],
            width=12,
            custom=STACKED_BARS,
            runbook="secret_unreadable",
        ),
        Panel(
            title="Spans",
            description="Spans that the trace collector has taken, and those given up, by reason. 0 where no collector is named (OTLP_ENDPOINT).",
            unit="cps",
            queries=[
                (
                    f"sum by (service) (rate(breakwater_spans_exported_total{{{_OF}}}[$__rate_interval]))",
                    "{{service}} exported",
                ),
                (
                    f"sum by (service, reason) (rate(breakwater_spans_dropped_total{{{_OF}}}[$__rate_interval])) or on () vector(0)",
                    "{{service}} dropped: {{reason}}",
                ),
            ],
            width=12,
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="breakwater-services",
    title="Breakwater / Services",
    description="Processes, readiness, resources, and the services' ways to exchange, database and Slack.",
    variables=[NAMESPACE, RUN, SERVICE, ACCOUNT],
    rows=[_STATE, _RESOURCES, _EXCHANGE, _REPORTER, _SECRETS, _TRACES],
)
