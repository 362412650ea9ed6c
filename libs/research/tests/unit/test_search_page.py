"""The page of a search: figures, surfaces, windows and chance in words; damaged folders are refused."""

import re
from pathlib import Path

import pytest
from made_reports import HOSTILE
from made_searches import made_results, made_search, write_search

from breakwater_core.errors import InvalidInputError
from breakwater_research.search_page import render_search


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html.partition("</head>")[2]).split())


def test_the_page_shows_verdict_surfaces_windows_and_chance_in_words(tmp_path: Path) -> None:
    html = render_search(write_search(tmp_path, made_search(), made_results()))
    text = text_of(html)
    for shown in (
        "Not significant: p 0.61 is above 0.05.",
        "Sharpe ratio in-sample by k_long and ma_window",
        "Sharpe ratio out-of-sample by k_long and ma_window",
        "Rolling windows: 60 days choose",
        "would be seen in 61.0% of all searches",
        "Deflated Sharpe ratio 0.410",
        "Probability of backtest overfitting 0.520",
        "Cost breakdown of the chosen set",
        "The 9 best of 9",
        "1 liquidation",
    ):
        assert shown in text, shown
    assert 'class="up-5 marked"' not in html
    assert re.search(r'class="[^"]*marked" title="k_long 0.5, ma_window 5: 0.00"', html)


def test_a_search_without_windows_holdout_and_permutation_has_a_page_too(tmp_path: Path) -> None:
    values = made_search(walk_forward=None, permutation=None, overfitting=None)
    values["out_of_sample"] = {"days": [], "returns": []}
    values["data"]["out_of_sample"] = None
    html = render_search(write_search(tmp_path, values, made_results().drop(columns="out_of_sample_sharpe")))
    assert "Sharpe ratio out-of-sample by" not in html
    assert 'id="windows"' not in html


def test_text_of_a_search_never_becomes_markup(tmp_path: Path) -> None:
    values = made_search()
    values["verdict"]["sentence"] = HOSTILE
    values["chosen"]["values"][HOSTILE] = HOSTILE
    values["permutation"]["null"] = HOSTILE
    html = render_search(write_search(tmp_path, values, made_results()))
    assert "<script" not in html
    assert "<img" not in html


def test_the_same_search_gives_the_same_page(tmp_path: Path) -> None:
    folder = write_search(tmp_path, made_search(), made_results())
    assert render_search(folder) == render_search(folder)


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"search\.json.*breakwater optimize"):
        render_search(tmp_path)


def test_a_damaged_search_is_refused_by_its_file(tmp_path: Path) -> None:
    folder = write_search(tmp_path, made_search(), made_results())
    (folder / "results.parquet").write_bytes(b"nothing")
    with pytest.raises(InvalidInputError, match=r"results\.parquet"):
        render_search(folder)
    write_search(tmp_path, made_search(chosen={"set": 4}), made_results())
    with pytest.raises(InvalidInputError, match="run the search again"):
        render_search(folder)
    write_search(tmp_path, made_search(), made_results().drop(columns="strategy.k_long"))
    with pytest.raises(InvalidInputError, match=r"lacks the columns strategy\.k_long"):
        render_search(folder)
