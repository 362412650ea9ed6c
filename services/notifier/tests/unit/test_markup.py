"""Text as Slack reads it."""

import html

from hypothesis import given
from hypothesis import strategies as st

from notifier_service import markup

TEXT = st.text(alphabet=st.one_of(st.sampled_from("&<>`\n a"), st.characters(exclude_categories=["Cs"])), max_size=300)


@given(text=TEXT, limit=st.integers(1, 200))
def test_clipped_text_fits_and_reads_back_as_a_beginning_of_the_original(text: str, limit: int) -> None:
    clipped = markup.clip(text, limit)
    assert len(clipped) <= limit
    assert "<" not in clipped
    assert ">" not in clipped
    plain = clipped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert plain == text or text.startswith(plain.removesuffix("…"))


def test_text_can_neither_mention_anybody_nor_form_a_link() -> None:
    assert markup.escape("<!channel> <https://evil|x> & more") == "&lt;!channel&gt; &lt;https://evil|x&gt; &amp; more"


@given(text=TEXT)
def test_escaped_text_reads_back_the_same(text: str) -> None:
    if "&" not in text:
        assert html.unescape(markup.escape(text)) == text


@given(text=st.text(max_size=200))
def test_one_line_is_one_line(text: str) -> None:
    assert len(markup.one_line(text).splitlines()) <= 1


@given(rows=st.lists(TEXT, max_size=60), row_limit=st.integers(1, 200), limit=st.integers(20, 3000))
def test_a_code_block_fits_and_holds_as_many_rows_as_it_says(rows: list[str], row_limit: int, limit: int) -> None:
    text, shown = markup.code_block(rows, row_limit=row_limit, limit=limit)
    assert len(text) <= limit
    assert shown <= len(rows)
    assert text.count("```") == 2
    inside = text.removeprefix("```\n").removesuffix("\n```")
    assert len(inside.split("\n")) == max(shown, 1)
