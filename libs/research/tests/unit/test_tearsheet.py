"""The tearsheet: one self-contained page that shows the figures and escapes every text."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from made_reports import HOSTILE, RUN, made_day, made_fill, made_hostile_run, made_order, made_report, made_run

from breakwater_core.errors import InvalidInputError
from breakwater_research.tearsheet import LARGEST_TABLE, render_html

VOID = {"meta", "link"}


class Page(HTMLParser):
    """Checks that every element is closed in order, and keeps what a test asks about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.loaded: list[str] = []
        self.handlers: list[str] = []
        self.ids: list[str] = []
        self.labelled_by: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.seen.add(tag)
        self.loaded += [values[name] for name in ("src", "href", "xlink:href", "data", "action") if name in values]
        self.handlers += [name for name in values if name.startswith("on")]
        self.ids += [values["id"]] if "id" in values else []
        self.labelled_by += values.get("aria-labelledby", "").split()


def test_the_page_shows_the_headline_figures() -> None:
    text = Page(render_html(made_run())).text
    for shown in ("+0.75%", "100,747.50 at the end", "5.00%", "50.0%", "1 still open", "0.25", "+6.8 bps", "12,345"):
        assert shown in text, shown


def test_the_page_shows_orders_days_symbols_and_refusals() -> None:
    text = Page(render_html(made_run())).text
    assert "2023-07-04 10:00:00 BTCUSDT entry buy 1 100 100.1 +10.0 bps filled" in _spaced(render_html(made_run()))
    for shown in ("main/v1/ADAUSDT/2023-07-04/entry/1", "below min quantity", "2023-07-05", "strategy.k_long"):
        assert shown in text, shown


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    html = render_html(made_run())
    page = Page(html)
    assert page.loaded == ["data:,"]
    assert page.handlers == []
    assert not page.seen & {"script", "iframe", "object", "embed", "img", "form"}
    assert not re.search(r"url\(|@import|https?://", html)
    assert "default-src 'none'" in html


@pytest.mark.parametrize("report", [made_run(), made_hostile_run()], ids=["plain", "hostile"])
def test_every_chart_has_a_title_and_a_description(report: dict[str, object]) -> None:
    html = render_html(report)
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert page.labelled_by
    assert set(page.labelled_by) <= set(page.ids)
    charts = [svg for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL) if 'aria-hidden="true"' not in svg[:200]]
    assert len(charts) >= 4
    for chart in charts:
        first, second, *_ = ElementTree.fromstring(chart)
        assert (first.tag, second.tag) == ("title", "desc")
        assert first.text
        assert second.text


def test_text_of_a_report_never_becomes_markup() -> None:
    html = render_html(made_hostile_run())
    page = Page(html)
    assert not page.seen & {"script", "img"}
    assert page.handlers == []
    assert "<script" not in html
    assert page.text.count(HOSTILE) >= 10


def test_a_run_in_which_nothing_happened_has_a_page_too() -> None:
    page = Page(render_html(made_report()))
    assert "no closed day" in page.text
    assert "The run placed no order." in page.text
    assert "nan" not in page.text.lower().split()


def test_a_run_of_one_day_without_orders_has_curves() -> None:
    page = Page(render_html(made_report(days=[made_day("2023-07-04")])))
    assert {"equity", "drawdown", "returns-0"} <= set(page.ids)
    assert "slippage" not in page.ids
    assert "symbols" not in page.ids


def test_several_accounts_are_compared() -> None:
    days = [made_day("2023-07-04", "a", cumulative="1.1"), made_day("2023-07-04", "b", cumulative="0.9", mdd="0.1")]
    page = Page(render_html(made_report(days=days, orders=[made_order(1, account="a"), made_order(2, account="b")])))
    assert "−10.00% to +10.00%" in page.text
    assert "2 accounts" in page.text
    assert {"returns-0", "returns-1"} <= set(page.ids)


def test_of_a_long_table_the_latest_rows_are_shown_and_the_page_says_so() -> None:
    html = render_html(made_report(orders=[made_order(number, f"S{number}") for number in range(LARGEST_TABLE + 5)]))
    assert "The latest 2,000 of 2,005; all are in report.json." in html
    orders = html[html.index('aria-label="Orders"') :]
    assert ">S4<" not in orders
    assert f">S{LARGEST_TABLE + 4}<" in orders


def test_the_same_report_gives_the_same_page() -> None:
    assert render_html(made_run()) == render_html(made_run())


def test_extreme_figures_still_give_a_page() -> None:
    order = made_order(1, slippage_bps="1e20", target_price="1e-30")
    days = [
        made_day("2023-07-04", ror="0", cumulative="0", drawdown="1", mdd="1", equity="-5"),
        made_day("2033-07-05", ror="1e20", cumulative="1e20", drawdown="1e-12", mdd="1"),
    ]
    page = Page(render_html(made_report(orders=[order], fills=[made_fill(order, "1e-20")], days=days)))
    assert "−5.00" in page.text


def test_a_report_that_is_wrong_is_refused_by_row() -> None:
    with pytest.raises(InvalidInputError, match=r"orders\[0\]\.qty"):
        render_html(made_report(orders=[made_order(1, qty=None)]))


def test_refused_intents_are_shown_without_the_id_of_the_run() -> None:
    html = render_html(made_run())
    assert f">{RUN}/main" not in html


def _spaced(html: str) -> str:
    """Return the text of the page with a space between any two elements."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())
