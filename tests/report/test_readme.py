import pytest
from judging.made import question, quickstart

from clipbench.errors import ClipbenchError
from clipbench.judging.compare import compare
from clipbench.judging.comparison import Comparison
from clipbench.report.readme import block, replaced
from clipbench.report.render import render

README = "# Title\n\n<!-- table:quickstart -->\nold\n<!-- /table -->\n\nafter <!-- /table -->\n"


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(quickstart(), question("sgd", "sgd+clip", "adam"))


def test_the_block_holds_the_markdown_between_its_markers(comparison: Comparison) -> None:
    assert block(comparison) == f"<!-- table:quickstart -->\n{render(comparison, 'markdown')}\n<!-- /table -->"


def test_only_the_block_is_replaced(comparison: Comparison) -> None:
    text = replaced(README, comparison)
    assert text == f"# Title\n\n{block(comparison)}\n\nafter <!-- /table -->\n"


def test_replacing_twice_changes_nothing(comparison: Comparison) -> None:
    once = replaced(README, comparison)
    assert replaced(once, comparison) == once


def test_a_block_may_have_another_name(comparison: Comparison) -> None:
    text = "<!-- table:gpu -->\n<!-- /table -->"
    assert replaced(text, comparison, name="gpu") == block(comparison, name="gpu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no table here", "found 0 blocks <!-- table:quickstart -->"),
        (README + README, "found 2 blocks"),
        ("<!-- table:quickstart -->\nold", "has no end"),
        ("<!-- table:quickstart -->\n<!-- table:gpu -->\n<!-- /table -->", "has no end"),
    ],
)
def test_a_text_without_a_whole_block_is_an_error(text: str, message: str, comparison: Comparison) -> None:
    with pytest.raises(ClipbenchError, match=message):
        replaced(text, comparison)
