"""Texts that act, and what is shown of them."""

import csv
import io
import json

import pytest

from clipbench.harmless import as_cell, harmless, in_json, on_one_line, shortened

# By what they would do: the text, and what is shown of it on one line.
ACTING = {
    "colour": ("\x1b[31mred", r"\x1b[31mred"),
    "a title": ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    "a link": ("\x1b]8;;http://x\x1b\\here", r"\x1b]8;;http://x\x1b\here"),
    "a sequence of one byte": ("\x9b31m", r"\x9b31m"),
    "backspaces": ("bad\b\b\bok", r"bad\x08\x08\x08ok"),
    "a carriage return": ("bad\rok", r"bad\rok"),
    "a line": ("a\nerror: all is lost", r"a\nerror: all is lost"),
    "a line of Unicode": ("a\u2028b\u2029c\x85d\x0be\x0cf", r"a\u2028b\u2029c\x85d\x0be\x0cf"),
    "text from right to left": ("a\u202eb\u202ac\u2066d\u2069\u200fe", r"a\u202eb\u202ac\u2066d\u2069\u200fe"),
    "nothing that is seen": ("a\u200bb\u200dc\ufeffd\u00ade", r"a\u200bb\u200dc\ufeffd\xade"),
    "tags": ("a\U000e0041", r"a\U000e0041"),
    "NUL and DEL": ("a\x00b\x7f", r"a\x00b\x7f"),
    "halves of characters": ("a\ud800b\udcff", r"a\ud800b\udcff"),
    "GitHub's command": ("::error::x", r"\::error::x"),
    "GitHub's command after blanks": ("  ::set-output name=a::x", r"  \::set-output name=a::x"),
    "GitHub's older command": ("a ##[error]x", r"a #\#[error]x"),
    "Azure's command": ("##vso[task.complete]", r"#\#vso[task.complete]"),
    "TeamCity's command": ("##teamcity[x]", r"#\#teamcity[x]"),
}
PLAIN = ["sgd+clip", "adam[lr=0.1]", "a::b", "[red]", "## Title", "é 漢字 θ ± × 😀", "-0.5", "a#b"]


@pytest.mark.parametrize("kind", ACTING)
def test_what_acts_is_shown_on_one_line(kind: str) -> None:
    text, shown = ACTING[kind]
    assert on_one_line(text) == shown
    assert on_one_line(shown) == shown


@pytest.mark.parametrize("text", PLAIN)
def test_what_does_nothing_is_as_it_was(text: str) -> None:
    assert on_one_line(text) == harmless(text) == text
    assert json.loads(in_json(json.dumps(text, ensure_ascii=False))) == text


def test_lines_and_tabs_of_a_longer_text_stay_and_no_line_is_a_command() -> None:
    assert harmless("a\tb\n\t::error::c\r\n::d\x1b\n") == "a\tb\n\t\\::error::c\\r\n\\::d\\x1b\n"


@pytest.mark.parametrize("kind", ACTING)
def test_json_says_the_same_in_printable_text(kind: str) -> None:
    text, _ = ACTING[kind]
    written = in_json(json.dumps({"a": text}, ensure_ascii=False, indent=1))
    assert json.loads(written) == {"a": text}
    assert all(character.isprintable() or character == "\n" for character in written)
    assert harmless(written) == written


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        *(("=1+1", "'=1+1"), ("+1+1", "'+1+1"), ("-1+1", "'-1+1"), ("@SUM(A1)", "'@SUM(A1)"), (" =1", "' =1")),
        *(("＝1+1", "'＝1+1"), ('=cmd|"/c calc"!A1', "'=cmd|\"/c calc\"!A1"), ("\t=1", "\\t=1"), ("\r=1", "\\r=1")),
        *(("-0.5", "-0.5"), ("+1e-3", "+1e-3"), ("-inf", "-inf"), ("sgd", "sgd"), ("", ""), ("a=1", "a=1")),
        ("a\n=1+1", "a\\n=1+1"),
    ],
)  # fmt: skip
def test_a_formula_is_a_text_to_a_spreadsheet_and_a_number_a_number(text: str, cell: str) -> None:
    assert as_cell(text) == cell
    stream = io.StringIO()
    csv.writer(stream).writerow([as_cell(text), 1])
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abc", 3, "abc"), ("abcdefghij", 7, "abcd…ij"), ("x" * 10**6, 60, "x" * 39 + "…" + "x" * 20)],
)
def test_a_long_text_keeps_both_its_ends(text: str, width: int, shown: str) -> None:
    assert shortened(text, width) == shown
    assert len(shown) <= width
