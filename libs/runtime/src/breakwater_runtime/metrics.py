"""Metrics that every service has; a service's own are declared where they are counted."""

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter(
    "breakwater_messages_total",
    "Messages taken from the bus, by what became of them.",
    ["consumer", "outcome"],
)
HANDLING_TIME = Histogram(
    "breakwater_message_handling_seconds",
    "Time to handle one message.",
    ["consumer"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
PUBLISHED = Counter("breakwater_published_total", "Messages acknowledged by the bus.", ["stream"])
PUBLISH_TIME = Histogram(
    "breakwater_publish_seconds",
    "Time from a publish to its acknowledgement by the bus.",
    ["stream"],
    buckets=(0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5),
)
READER_RESETS = Counter(
    "breakwater_reader_resets_total", "Times that a reader of a stream was set up anew.", ["reader", "cause"]
)
BUS_CONNECTED = Gauge("breakwater_bus_connected", "1 while the service is connected to the bus.")
DEAD_LETTERS = Counter("breakwater_dead_letters_total", "Messages put aside as not processable.", ["consumer"])
STORE_FULL = Gauge("breakwater_bus_store_full", "1 while the bus does not store messages of the stream.", ["stream"])
ALERTS_WAITING = Gauge("breakwater_alerts_waiting", "Alerts that the bus has not taken yet; they are in the log.")
SPANS_EXPORTED = Counter("breakwater_spans_exported_total", "Spans that the trace collector has taken.")
SPANS_DROPPED = Counter(
    "breakwater_spans_dropped_total",
    "Spans that were given up: queue_full, not_exported (the collector is away or refuses them), stopped.",
    ["reason"],
)
