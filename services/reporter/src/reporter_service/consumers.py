"""The durable consumers of the reporter: shared by all reporters of one run, apart from those of other runs."""

from breakwater_runtime.consumers import ConsumerSpecification
from breakwater_runtime.subjects import ACCOUNT_STREAM, ALERT_STREAM, FILL_STREAM, MARKET_STREAM, ORDER_STREAM

ACK_WAIT_S = 4.0
"""What a reporter that was killed had in hand goes to the next one after this time."""


def order_consumer(run_id: str) -> ConsumerSpecification:
    """Order events; any number in hand, since their order does not matter."""
    return _consumer(run_id, "orders", ORDER_STREAM.name, "order.>")


def fill_consumer(run_id: str) -> ConsumerSpecification:
    """Executions; any number in hand, since their order does not matter."""
    return _consumer(run_id, "fills", FILL_STREAM.name, "fill.>")


def account_consumer(run_id: str) -> ConsumerSpecification:
    """Account snapshots; one in hand over all reporters, so that days are closed in their order."""
    return ConsumerSpecification(
        stream=ACCOUNT_STREAM.name,
        durable=f"reporter-{run_id}-accounts",
        filters=("account.>",),
        batch=1,
        max_in_flight=1,
        ack_wait_s=ACK_WAIT_S,
        max_deliveries=0,
        retry_delay_s=0.05,
    )


def alert_consumer(run_id: str) -> ConsumerSpecification:
    """Alerts."""
    return _consumer(run_id, "alerts", ALERT_STREAM.name, "alert.>")


def clock_consumer(run_id: str) -> ConsumerSpecification:
    """The clock, of which only the openings of days and the end of a recording are kept."""
    return _consumer(run_id, "clock", MARKET_STREAM.name, "md.clock.>")


def _consumer(run_id: str, name: str, stream: str, subject: str) -> ConsumerSpecification:
    return ConsumerSpecification(
        stream=stream,
        durable=f"reporter-{run_id}-{name}",
        filters=(subject,),
        batch=16,
        ack_wait_s=ACK_WAIT_S,
        max_deliveries=0,  # a database that is away for hours must not turn messages into dead letters
        retry_delay_s=0.5,
    )
