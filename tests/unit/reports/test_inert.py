"""Foreign text in Markdown, read back by a Markdown parser."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from proctor.events.text import printable
from proctor.reports.inert import block, code, prose

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
TEXT = st.text("`<b>[]()*_&;!~|\\\n\t #-1.a:", max_size=12) | st.text(max_size=12)


def inline(markdown: str) -> list[Token]:
    tokens = PARSER.parse(markdown)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    return tokens[1].children or []


@given(TEXT)
@example("`<b>")
@example("a``b`")
def test_code_is_one_span_that_holds_the_text(text: str) -> None:
    before, span, after = inline(f"x {code(text)} y")
    shown = printable(text)
    assert (before.content, span.type, after.content) == ("x ", "code_inline", " y")
    assert span.content == (shown if shown.strip() else f"'{shown}'")


@given(TEXT)
def test_prose_is_nothing_but_text(text: str) -> None:
    children = inline(f"x {prose(text)} y")
    assert {child.type for child in children} <= {"text", "text_special"}
    assert "".join(child.content for child in children) == f"x {printable(text)} y"


def test_a_colon_is_left_alone_where_it_means_nothing() -> None:
    assert prose("the grading: withheld") == "the grading: withheld"
    assert prose("see http://a and :smile:") == r"see http\://a and \:smile:"


@given(TEXT)
def test_a_block_is_one_fence_that_holds_the_lines(text: str) -> None:
    tokens = PARSER.parse(block(text))
    assert [token.type for token in tokens] == ["fence"]
    lines = [printable(line) for line in text.splitlines()]
    assert tokens[0].content == "\n".join(lines) + "\n" if lines else not tokens[0].content.strip()


def test_a_cut_block_says_so() -> None:
    assert "… (5000 characters in all)" in block("a" * 5000)
    assert len(block("a\n" * 5000)) < 9000
