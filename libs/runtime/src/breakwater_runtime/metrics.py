"""Metrics that every service has; a service's own are declared where they are counted. docs/metrics.md lists all."""

from collections.abc import Iterable, Iterator
from importlib.metadata import version

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter and histogram, for nobody

BUILD_INFO = Gauge("breakwater_build_info", "1; the label tells which version runs.", ["version"])
READY = Gauge(
    "breakwater_ready", "1 while a condition of readiness holds; /ready tells why it does not.", ["condition"]
)
LOOP_LAG = Histogram(
    "breakwater_event_loop_lag_seconds",
    "How much later than asked for the event loop wakes a task: what everything in the process waits besides.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
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
DENIED = Counter(
    "breakwater_bus_denied_total", "Publishes and subscriptions that the bus did not permit this user.", ["operation"]
)
BUS_RECONNECTS = Counter("breakwater_bus_reconnects_total", "Connections to the bus after the first.")
DEAD_LETTERS = Counter("breakwater_dead_letters_total", "Messages put aside as not processable.", ["consumer"])
STORE_FULL = Gauge("breakwater_bus_store_full", "1 while the bus does not store messages of the stream.", ["stream"])
ALERTS_WAITING = Gauge("breakwater_alerts_waiting", "Alerts that the bus has not taken yet; they are in the log.")
SPANS_EXPORTED = Counter("breakwater_spans_exported_total", "Spans that the trace collector has taken.")
SPANS_DROPPED = Counter(
    "breakwater_spans_dropped_total",
    "Spans that were given up: queue_full, not_exported (the collector is away or refuses them), stopped.",
    ["reason"],
)
HALTED = Gauge(
    "breakwater_halted", "1 while entries are halted by a person: of an account, or of all of them (*).", ["account"]
)

RESET_CAUSES = ("reconnect", "silence")
"""Why a reader is set up anew."""


class ProcessRegistry(Collector):
    """The metrics of this process, each with the run that it works for: a process has one run, a bus has many."""

    def __init__(self, registry: Collector = REGISTRY) -> None:
        """Pass on what the registry holds; without the label until a run is named."""
        self._registry = registry
        self.run_id: str | None = None

    def collect(self) -> Iterator[Metric]:
        """Return every metric with the label `run` on its samples."""
        for family in self._registry.collect():
            if self.run_id is not None:
                family.samples = [
                    sample._replace(labels={**sample.labels, "run": self.run_id}) for sample in family.samples
                ]
            yield family


PROCESS = ProcessRegistry()
"""What `/metrics` shows."""


def describe_process(*, run_id: str) -> None:
    """State which version runs, and for which run: every metric carries it from then on.

    Which service it is, the scrape says: both roles of the executor are one program.
    """
    PROCESS.run_id = run_id
    BUILD_INFO.labels(version("breakwater-runtime")).set(1)


def begin_at_zero(metric: Counter | Gauge | Histogram, *labels: Iterable[str]) -> None:
    """Show every combination of the labels from the start, so that the first one counted is seen to be counted."""
    combinations: list[tuple[str, ...]] = [()]
    for values in labels:
        known = tuple(values)
        combinations = [(*before, value) for before in combinations for value in known]
    for combination in combinations:
        metric.labels(*combination)


begin_at_zero(DENIED, ("publish", "subscribe"))
