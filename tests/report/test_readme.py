"""The README's blocks are written from the runs and the shelves, and nothing else in it is touched."""

import re
from pathlib import Path

import pytest

from clipbench import store
from clipbench.errors import ClipbenchError, StoreError
from clipbench.judging.compare import compare
from clipbench.report.compare import document
from clipbench.report.markdown import as_markdown
from clipbench.report.readme import drawn_from, picture_path, written

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "reference"


BLOCKS = {
    "README.md": ["arms:cpu/quickstart", "picture:cpu/quickstart"],
    "docs/results.md": ["table:cpu/quickstart", "table:h100/quickstart"],
    "docs/claims.md": ["claims:cpu/claims"],
    "docs/optimizers.md": ["tried:cpu/optimizers.txt"],
    "docs/shelves.md": ["list:tasks", "list:optimizers", "list:probes"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_a_page_shows_what_the_reference_runs_and_the_shelves_say(name: str) -> None:
    """After a change of either: make readme."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == written(text, REFERENCE)
    assert [block for block in BLOCKS[name] if f"<!-- {block} -->" not in text] == []


@pytest.mark.slow
def test_the_picture_is_drawn_from_the_reference_runs() -> None:
    """After a change of the runs or of the picture: make readme."""
    name = "cpu/quickstart"
    assert (ROOT / picture_path(name)).read_text(encoding="utf-8").endswith(drawn_from(name, REFERENCE))


def test_the_readme_counts_the_claims_as_the_page_of_claims_does() -> None:
    page, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/claims.md", "README.md"))
    hold, fail, undecided, not_measured = re.findall(r"\d+", page.rstrip().splitlines()[-2])
    assert f"{hold} hold, {fail} fail, {undecided} are undecided, {not_measured} is not measured" in readme


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_a_table_is_the_comparison_of_its_folder_and_the_rest_stays() -> None:
    folder = REFERENCE / "cpu" / "quickstart"
    question = store.read_question(folder)
    assert question is not None
    table = as_markdown(document(compare(store.read_all(folder)[0], question)))
    text = written("before\n<!-- table:cpu/quickstart -->\nold\n<!-- /table:cpu/quickstart -->\nafter", REFERENCE)
    assert text == f"before\n<!-- table:cpu/quickstart -->\n{table}\n<!-- /table:cpu/quickstart -->\nafter"


def test_what_was_tried_has_a_line_for_each_optimizer(tmp_path: Path) -> None:
    (tmp_path / "tried.txt").write_text(
        "the command\n\n"
        "optimizer   steps  runs      why not by name, or at all      remarks\n"
        "a.b:Lion       12  by name\n"
        "a.b:Slow       12  by name                                   life: it is slow; resume: not read back\n"
        "a.b:Muon       12  group     SomeError: 'a.b:Muon' takes matrices alone\n"
        "a.b:SAM        12  factory   it wants a class                resume: it starts again\n"
        "a.b:DeMo        0  no        ImportError: no einops\n"
        "a.b:LOMO        0  no, factory  it has no step()\n"
        "\na.b (a 1.0): 4 of 6 took all 12 steps\n\na.b:DeMo: no einops\n"
    )
    text = written("<!-- tried:tried.txt -->\n<!-- /tried:tried.txt -->", tmp_path)
    assert text.splitlines()[1:-1] == [
        "| optimizer | runs | what is said |",
        "|---|---|---|",
        "| `a.b:Lion` | by its name |  |",
        "| `a.b:Slow` | by its name | life: it is slow; resume: not read back |",
        "| `a.b:Muon` | for matrices, in a group |  |",
        "| `a.b:SAM` | by a factory | resume: it starts again |",
        "| `a.b:DeMo` | no | no einops |",
        "| `a.b:LOMO` | no | it has no step() |",
    ]


def test_a_list_has_a_line_for_every_file_on_the_shelf() -> None:
    text = written("<!-- list:optimizers -->\n<!-- /list:optimizers -->", REFERENCE)
    names = {path.stem for path in (ROOT / "clipbench" / "optimizers").glob("[a-z]*.py")}
    assert {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")} == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- list:tasks -->\nno end", "stands alone"),
        ("<!-- /list:tasks -->", "stands alone"),
        ("<!-- list:tasks -->\n<!-- list:probes -->\n<!-- /list:tasks -->", "stands alone"),
        ("<!-- claims:nowhere -->\n<!-- /claims:nowhere -->", "no runs to test claims on"),
        ("<!-- list:nonsense -->\n<!-- /list:nonsense -->", "no shelf called 'nonsense'"),
    ],
)
def test_a_block_that_is_not_whole_or_names_nothing_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ClipbenchError, match=message):
        written(text, REFERENCE)


def test_a_table_without_its_folder_or_its_question_is_an_error(tmp_path: Path) -> None:
    text = "<!-- table:a/b -->\n<!-- /table:a/b -->"
    with pytest.raises(StoreError, match="no such folder"):
        written(text, tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(ClipbenchError, match="has no question"):
        written(text, tmp_path)
