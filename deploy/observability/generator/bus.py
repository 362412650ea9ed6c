"""Dashboard "Bus": streams, consumers, buckets and the services' connections to NATS."""

from deploy.observability.generator.parts import (
    BAD_ABOVE_ZERO,
    BARS,
    GREEN,
    NAMESPACE,
    RED,
    RUN,
    STACKED_BARS,
    STEPS,
    YELLOW,
    Dashboard,
    Panel,
    Row,
    quantiles,
)

_OF = 'namespace=~"$namespace", run=~"$run"'
_FILL_STEPS = ((None, GREEN), (0.8, YELLOW), (0.95, RED))

_NOW = Row(
    "Now",
    [
        Panel(
            title="Connections to the bus",
            description="Services that are connected to NATS, and those that are not. The paper exchange connects in a replay only.",
            unit="short",
            queries=[
                (f'sum(breakwater_bus_connected{{{_OF}, service!="paper-exchange"}})', "connected"),
                (f'sum(breakwater_bus_connected{{{_OF}, service!="paper-exchange"}} == bool 0)', "away"),
            ],
            kind="stat",
            width=6,
            height=5,
            runbook="bus_away",
        ),
        Panel(
            title="Fullest stream or bucket",
            description="Share of its limit. Streams drop their oldest messages at the limit, buckets take no more writes. "
            "Trades (MD) are bounded on purpose and left out.",
            unit="percentunit",
            queries=[
                ('max(stream:breakwater_bus_stream_fill:ratio{namespace=~"$namespace", stream!="MD"})', "stream"),
                ('max(bucket:breakwater_bus_bucket_fill:ratio{namespace=~"$namespace"})', "bucket"),
            ],
            kind="stat",
            width=6,
            height=5,
            steps=_FILL_STEPS,
            runbook="stream_nearly_full",
        ),
        Panel(
            title="Store of the bus",
            description="Bytes that all streams and buckets use, and what the server allows them; the limit is absent if there is none.",
            unit="bytes",
            queries=[
                ('max(breakwater_bus_store_bytes{namespace=~"$namespace"})', "used"),
                ('max(breakwater_bus_store_limit_bytes{namespace=~"$namespace"}) >= 0 or on () vector(0)', "limit"),
            ],
            kind="stat",
            width=6,
            height=5,
            runbook="stream_nearly_full",
        ),
        Panel(
            title="Trouble",
            description="Streams that are not stored, alerts that the bus has not taken yet, and dead letters that are kept. All are 0.",
            unit="short",
            queries=[
                (f"sum(max by (stream) (breakwater_bus_store_full{{{_OF}}}))", "streams not stored"),
                (f"sum(breakwater_alerts_waiting{{{_OF}}})", "alerts waiting"),
                ('max(breakwater_bus_stream_messages{namespace=~"$namespace", stream="DEAD"})', "dead letters kept"),
            ],
            kind="stat",
            width=6,
            height=5,
            steps=BAD_ABOVE_ZERO,
            runbook="dead_letter",
        ),
    ],
)

_STREAMS = Row(
    "Streams",
    [
        Panel(
            title="Fill of the streams",
            description="Size as a share of the limit at which a stream drops its oldest messages.",
            unit="percentunit",
            queries=[('stream:breakwater_bus_stream_fill:ratio{namespace=~"$namespace"}', "{{stream}}")],
            kind="bargauge",
            minimum=0,
            maximum=1,
            steps=_FILL_STEPS,
            runbook="stream_nearly_full",
        ),
        Panel(
            title="Size of the streams",
            description="Bytes in the store; the dashed line's value is each stream's limit.",
            unit="bytes",
            queries=[
                ('max by (stream) (breakwater_bus_stream_bytes{namespace=~"$namespace"})', "{{stream}}"),
                ('max by (stream) (breakwater_bus_stream_limit_bytes{namespace=~"$namespace"})', "{{stream}} limit"),
            ],
        ),
        Panel(
            title="Messages held",
            description="Messages in each stream.",
            unit="short",
            queries=[('max by (stream) (breakwater_bus_stream_messages{namespace=~"$namespace"})', "{{stream}}")],
        ),
        Panel(
            title="Messages published",
            description="Publishes that the bus has acknowledged, by stream.",
            unit="cps",
            queries=[(f"sum by (stream) (rate(breakwater_published_total{{{_OF}}}[$__rate_interval]))", "{{stream}}")],
            width=12,
        ),
        Panel(
            title="Publish until acknowledged",
            description="Streams that survive a power cut wait for the disk, trades (MD) do not.",
            unit="s",
            queries=quantiles("breakwater_publish_seconds", _OF, by="stream", window="5m"),
            width=12,
        ),
    ],
)

_CONSUMERS = Row(
    "Consumers",
    [
        Panel(
            title="Messages not delivered yet",
            description="What each consumer has still before it. `executor`: all queues of intents together; reader-...: readers without "
            "acknowledgement, such as signal's of market data.",
            unit="short",
            queries=[(f"run_stream_consumer:breakwater_bus_consumer_pending:max{{{_OF}}}", "{{stream}} {{consumer}}")],
            width=12,
            runbook="consumer_behind",
        ),
        Panel(
            title="Delivered and not acknowledged",
            description="In hand of the services. Redelivered: given out more than once, since nobody has acknowledged them in time.",
            unit="short",
            queries=[
                (
                    f"max by (stream, consumer) (breakwater_bus_consumer_ack_pending{{{_OF}}})",
                    "{{stream}} {{consumer}}",
                ),
                (
                    f"max by (stream, consumer) (breakwater_bus_consumer_redelivered{{{_OF}}})",
                    "{{stream}} {{consumer}} redelivered",
                ),
            ],
            width=12,
        ),
        Panel(
            title="Messages by what became of them",
            description="Handled, retried after a passing fault, left to another process, of another run, or put aside.",
            unit="cps",
            queries=[(f"sum by (outcome) (rate(breakwater_messages_total{{{_OF}}}[$__rate_interval]))", "{{outcome}}")],
        ),
        Panel(
            title="Time to handle a message",
            description="p99 by service over 5 minutes. An exit's message is in hand until its position is flat.",
            unit="s",
            queries=[
                (
                    (
                        "histogram_quantile(0.99, sum by (service, le) "
                        f"(rate(breakwater_message_handling_seconds_bucket{{{_OF}}}[5m])))"
                    ),
                    "{{service}}",
                )
            ],
        ),
        Panel(
            title="Dead letters by consumer",
            description="Messages put aside as not processable. Each one raises an alert and waits for a person.",
            unit="short",
            queries=[
                (
                    f"sum by (consumer) (increase(breakwater_dead_letters_total{{{_OF}}}[$__rate_interval])) > 0 or on () vector(0)",
                    "{{consumer}}",
                )
            ],
            custom=STACKED_BARS,
            steps=BAD_ABOVE_ZERO,
            runbook="dead_letter",
        ),
    ],
)

_BUCKETS = Row(
    "Key-value buckets",
    [
        Panel(
            title="Fill of the buckets",
            description="Size as a share of the limit at which a bucket takes no more writes.",
            unit="percentunit",
            queries=[('bucket:breakwater_bus_bucket_fill:ratio{namespace=~"$namespace"}', "{{bucket}}")],
            kind="bargauge",
            minimum=0,
            maximum=1,
            steps=_FILL_STEPS,
            runbook="stream_nearly_full",
        ),
        Panel(
            title="Size of the buckets",
            description="Bytes in the store, and each bucket's limit.",
            unit="bytes",
            queries=[
                ('max by (bucket) (breakwater_bus_bucket_bytes{namespace=~"$namespace"})', "{{bucket}}"),
                ('max by (bucket) (breakwater_bus_bucket_limit_bytes{namespace=~"$namespace"})', "{{bucket}} limit"),
            ],
        ),
        Panel(
            title="Keys",
            description="Keys in each bucket. Records of intents and claims of the notifier grow with the orders.",
            unit="short",
            queries=[('max by (bucket) (breakwater_bus_bucket_keys{namespace=~"$namespace"})', "{{bucket}}")],
        ),
    ],
)

_TROUBLE = Row(
    "Connections",
    [
        Panel(
            title="Reconnects",
            description="Connections to NATS after the first, by service.",
            unit="short",
            queries=[
                (
                    f"sum by (service) (increase(breakwater_bus_reconnects_total{{{_OF}}}[$__rate_interval]))",
                    "{{service}}",
                )
            ],
            custom=STACKED_BARS,
            runbook="bus_away",
        ),
        Panel(
            title="Readers set up anew",
            description="After a reconnect, or because nothing was heard from the server.",
            unit="short",
            queries=[
                (f"sum by (cause) (increase(breakwater_reader_resets_total{{{_OF}}}[$__rate_interval]))", "{{cause}}")
            ],
            custom=BARS,
        ),
        Panel(
            title="Readings of the bus's state",
            description="The reporter reads what this dashboard shows; failed readings leave the last values standing.",
            unit="short",
            queries=[
                (f"sum by (outcome) (increase(breakwater_bus_polls_total{{{_OF}}}[$__rate_interval]))", "{{outcome}}")
            ],
            custom=STEPS,
            runbook="bus_not_observed",
        ),
    ],
)

_RIGHTS = Row(
    "Rights",
    [
        Panel(
            title="Not permitted",
            description="Publishes and subscriptions that the bus has denied to a service's user. 0, unless rights are missing or somebody uses them up.",
            unit="short",
            queries=[
                (
                    f"sum by (service, operation) (increase(breakwater_bus_denied_total{{{_OF}}}[$__rate_interval])) or on () vector(0)",
                    "{{service}} {{operation}}",
                )
            ],
            width=24,
            steps=BAD_ABOVE_ZERO,
            custom=STACKED_BARS,
            runbook="bus_denied",
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="breakwater-bus",
    title="Breakwater / Bus",
    description="Streams, consumers and buckets of NATS JetStream, and the services' connections to it.",
    variables=[NAMESPACE, RUN],
    rows=[_NOW, _STREAMS, _CONSUMERS, _BUCKETS, _TROUBLE, _RIGHTS],
)
