"""Messages say what happened, and Slack takes them."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater_core.events import Alert, DayDifference, FillKind, OrderStatus, Severity, Side
from notifier_service.composition import compose
from notifier_service.message import Message, MessageLinks
from notifier_service.notice import Notice, notice_of

LINKS = MessageLinks(orders="https://ui.example.com/", runbook="https://docs.example.com/runbook")
Faults = Callable[[dict[str, Any]], list[str]]


def notices(made: Sequence[object], run_id: str = "live") -> list[Notice]:
    return [notice for event in made if (notice := notice_of(event, run_id))]


def told(*made: object, run_id: str = "live", links: MessageLinks = LINKS) -> Message:
    return compose(notices(made, run_id), run_id, links)


def as_sent(message: Message) -> dict[str, Any]:
    for block in message.blocks:
        block.validate_json()
    return {"text": message.text, "blocks": [block.to_dict() for block in message.blocks]}


def shown(message: Message) -> str:
    return str(as_sent(message)["blocks"])


def test_a_fill_is_told_with_its_quantity_price_value_and_fee(events: Any) -> None:
    assert told(events.fill()).text == (
        "Fill: BTCUSDT buy 0.5 @ 40000 = 20,000.00 USDT, fee 11 USDT (taker), account main "
        "https://ui.example.com/runs/live/orders/bw-1"
    )


def test_funding_is_told_as_a_payment_not_as_a_trade(events: Any) -> None:
    text = told(events.fill(kind=FillKind.FUNDING, fee=Decimal("-1.5"))).text
    assert "Funding: BTCUSDT received 1.5 USDT" in text
    assert "20,000" not in text


def test_an_order_is_told_with_its_outcome_reason_and_link(events: Any) -> None:
    message = told(events.order(status=OrderStatus.REJECTED, reason="insufficient_balance", detail="ab not enough"))
    assert message.text.startswith("Order rejected: BTCUSDT entry buy 0.5 of 0.5 @ 40000, account main")
    assert "(insufficient_balance: ab not enough)" in message.text
    assert "Configuration" in shown(message)
    assert "<https://ui.example.com/runs/live/orders/bw-1|Open the order>" in shown(message)


def test_without_a_page_for_orders_there_is_no_link(events: Any) -> None:
    assert "http" not in shown(told(events.order(), links=MessageLinks()))


def test_performance_is_told_in_percent(events: Any) -> None:
    assert told(events.performance()).text == (
        "Performance of main on 2024-01-01: +1.23 %, cumulative +4.56 %, drawdown 0.50 %, MDD 2.10 %, "
        "equity 101,230.50 USDT"
    )


@pytest.mark.parametrize(
    ("runbook", "expected"),
    [
        ("docs/runbook.md", "Runbook: `docs/runbook.md#position_not_flat`"),
        ("https://docs.example.com/r", "<https://docs.example.com/r#position_not_flat|Runbook>"),
    ],
)
def test_an_alert_names_its_severity_and_its_runbook_entry(events: Any, runbook: str, expected: str) -> None:
    message = told(events.alert(), links=MessageLinks(runbook=runbook))
    assert message.text.startswith("CRITICAL position_not_flat (executor): BTCUSDT is not flat after its exit")
    assert expected in shown(message)


def test_parity_is_one_line_that_names_of_each_order_the_costliest_difference(events: Any) -> None:
    message = told(events.parity())
    assert message.text == (
        "parity 2024-03-01 main: 8 orders equal, 1 differs: BTCUSDT entry slippage 1.2 bps; total 0.4 bps"
    )
    assert "100 -&gt; 100.012" in shown(message)
    assert "equity" in shown(message)


def test_a_day_that_equals_its_backtest_is_told_too(events: Any) -> None:
    equal = events.parity(orders_different=0, differences=(), differences_total=0, total_bps=Decimal(0))
    assert told(equal).text == "parity 2024-03-01 main: 8 orders equal; total 0 bps"


def test_a_day_of_which_only_the_result_differs_says_which_figures(events: Any) -> None:
    only_the_day = events.parity(orders_different=0, differences=events.parity().differences[2:])
    assert told(only_the_day).text == "parity 2024-03-01 main: 8 orders equal: equity; total 0.4 bps"


def test_a_day_that_cannot_be_compared_says_why(events: Any) -> None:
    reason = "gap in BTCUSDT from 2024-03-01 10:00:00 UTC to 2024-03-01 10:05:12 UTC"
    gap = events.parity(comparable=False, reason=reason, differences=())
    assert told(gap).text == f"parity 2024-03-01 main: not comparable: {reason}"


def test_parity_in_a_storm_stands_beside_the_days(events: Any) -> None:
    text = told(events.performance(0), events.performance(1), events.parity(0), events.parity(1)).text
    assert "Performance of 2 days" in text
    assert "parity 2024-03-02 main: 8 orders equal" in text
    alone = told(events.parity(0), events.parity(1))
    assert alone.text.startswith("Parity of 2 days: parity 2024-03-02 main")
    as_sent(alone)


@pytest.mark.parametrize("name", ["fill", "order", "performance", "parity", "alert"])
def test_messages_of_a_replay_begin_with_its_run(events: Any, name: str) -> None:
    assert told(getattr(events, name)(), run_id="replay-1").text.startswith("[replay-1] ")


def test_a_summary_counts_everything_and_says_how_many_rows_it_leaves_out(events: Any) -> None:
    made = [events.fill(number, symbol=f"COIN{number % 12}USDT") for number in range(40)]
    made += [events.order(1), events.order(2, status=OrderStatus.REJECTED), events.order(3)]
    message = told(*made)
    assert message.text == (
        "40 fills and 3 orders; fills of 12 symbols: 800,000.00 USDT, fees and funding 440.00 USDT; "
        "orders: 2 filled, 1 rejected"
    )
    assert "and 2 more" in shown(message)
    assert "and 33 more" in shown(message)


def test_funding_adds_nothing_to_the_value_traded(events: Any) -> None:
    text = told(events.fill(1), events.fill(2, kind=FillKind.FUNDING, fee=Decimal(4))).text
    assert "2 fills; fills of 1 symbol: 20,000.00 USDT, fees and funding 15.00 USDT" in text


def test_a_summary_of_alerts_counts_them_by_name(events: Any) -> None:
    made = [events.alert(number, severity=Severity.WARNING, name=f"name_{number % 2}") for number in range(7)]
    assert told(*made).text == "7 alerts: 4 x warning name_0, 3 x warning name_1"


def test_a_summary_of_days_shows_the_newest_first(events: Any) -> None:
    message = told(*(events.performance(number) for number in range(30)))
    assert message.text.startswith("Performance of 30 days until 2024-01-30: cumulative +4.56 %")
    assert "and 20 more" in shown(message)


def test_an_alert_with_many_facts_says_that_it_shows_ten(events: Any) -> None:
    message = told(events.alert(facts={f"fact {number}": "x" for number in range(30)}))
    assert "and 21 more facts" in shown(message)


def test_text_cannot_break_out_of_its_line(events: Any, find_block_faults: Faults) -> None:
    message = told(events.alert(summary="one\r\n{'event': 'forged'}\x1b[2J <!channel>", name="a b#c|d>"))
    assert len(message.text.splitlines()) == 1
    assert "\x1b" not in message.text
    assert find_block_faults(as_sent(message)) == []


NASTY = st.text(alphabet=st.one_of(st.sampled_from("&<>`|\n"), st.characters(exclude_categories=["Cs"])), max_size=5000)
MONEY = st.decimals(min_value=-(10**15), max_value=10**15, allow_nan=False, allow_infinity=False)
TIMES = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=NASTY, value=MONEY, time_ms=TIMES, count=st.integers(1, 60), data=st.data())
def test_slack_takes_whatever_the_events_say(
    events: Any, find_block_faults: Faults, text: str, value: Decimal, time_ms: int, count: int, data: st.DataObject
) -> None:
    severity = data.draw(st.sampled_from(list(Severity)))
    kind = data.draw(st.sampled_from(list(FillKind)))
    lanes: list[list[object]] = [
        [
            events.fill(
                n, symbol=text[: n + 1], account=text, quantity=value, fee=value, kind=kind, exec_time_ms=time_ms
            )
            for n in range(count)
        ]
        + [
            events.order(n, symbol=text, reason=text, detail=text, order_link_id=text, event_time_ms=time_ms)
            for n in range(count)
        ],
        [events.performance(n, account=text, equity=value, ror=value, net_deposits=value) for n in range(count)]
        + [
            events.parity(
                n,
                account=text,
                reason=text,
                comparable=bool(n % 2),
                total_bps=value,
                differences=(DayDifference(text, text, text, text, text, value),) * (n % 60),
            )
            for n in range(count)
        ],
        [
            events.alert(
                n, severity=severity, name=text, summary=text, service=text, facts=dict.fromkeys(text[:20], text)
            )
            for n in range(count)
        ],
    ]
    for lane in lanes:
        for made in (lane, lane[:1], lane[-1:]):
            message = told(*made)
            assert find_block_faults(as_sent(message)) == []
            assert len(message.text.splitlines()) <= 1


@given(sides=st.lists(st.sampled_from(list(Side)), min_size=2, max_size=200))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_summary_counts_every_fill_once(events: Any, sides: list[Side]) -> None:
    message = told(*(events.fill(number, side=side) for number, side in enumerate(sides)))
    assert message.text.startswith(f"{len(sides)} fills; ")
    assert f"{20_000 * len(sides):,}.00 USDT" in message.text


def test_an_alert_without_text_is_still_a_message(find_block_faults: Faults) -> None:
    message = told(Alert("id", "live", Severity.INFO, "", "", "", 0, facts={"": ""}))
    assert find_block_faults(as_sent(message)) == []
