"""Documents of made-up rows: what each format makes of each part, whatever the room."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.shown import data, drawn, lines, text
from rich.cells import cell_len

from clipbench.errors import ClipbenchError
from clipbench.report.render import FORMATS, Format, render
from clipbench.report.table import Bullets, Column, Document, Paragraph, Table, facts, text_column


@dataclass(frozen=True)
class City:
    name: str
    people: float
    rivers: tuple[str, ...] = ()
    story: str = "none"


CITIES = (City("Ulm", 0.125, ("Donau", "Blau"), "It has the highest steeple."), City("=1+1", math.inf))


def table(*cities: City, order: tuple[str, ...] = ()) -> Table[City]:
    return Table(
        name="cities",
        title="Cities",
        note="People in millions.",
        columns=(
            text_column("name", "its name", lambda city: city.name),
            Column(
                "people",
                "how many live there",
                lambda city: city.people,
                "people there",
                lambda city: (f"{city.people:g}", "m"),
                beside=(Column("thousands", "the same", lambda city: city.people * 1000),),
            ),
            Column("rivers", "on which it lies", lambda city: city.rivers),
            text_column("story", "what is told of it", lambda city: city.story, wraps=True),
            Column("mark", "for people only", shown=lambda city: ("*" * len(city.rivers),), heading=""),
        ),
        rows=cities,
        order=order,
    )


WHOLE = Document([Paragraph("Where?", style="bold"), table(*CITIES), Bullets(("a_b", "<c>"), title="Beware")])


def test_programs_get_every_value_and_a_list_as_a_list() -> None:
    ulm, other = lines(WHOLE)
    assert ulm == {
        "name": "Ulm",
        "people": "0.125",
        "thousands": "125.0",
        "rivers": "Donau;Blau",
        "story": "It has the highest steeple.",
    }
    assert (other["name"], other["people"], other["rivers"]) == ("'=1+1", "inf", "")
    assert data(WHOLE)[0]["rivers"] == ["Donau", "Blau"]
    assert list(data(WHOLE)[0]) == list(ulm)
    assert data(WHOLE)[1]["people"] == "inf"


def test_a_document_may_have_other_lines_and_other_data_for_programs() -> None:
    other = Document(WHOLE.parts, lines=table(CITIES[0]), data=lambda: {"cities": 2})
    assert [line["name"] for line in lines(other)] == ["Ulm"]
    assert data(other) == {"cities": 2}
    twice = Document([table(CITIES[0]), table(CITIES[1])])
    assert [len(rows) for rows in data(twice)] == [1, 1]
    assert text(twice, "csv").count("name,people") == 2


def test_people_see_the_columns_with_a_heading_or_those_that_are_asked_for() -> None:
    assert [column.name for column in table().visible] == ["name", "people", "story", "mark"]
    assert [column.name for column in table(order=("mark", "name")).visible] == ["mark", "name"]


def test_every_part_is_in_every_format_for_people_as_its_own() -> None:
    question, title, pipes, note, beware, bullets = text(WHOLE, "markdown").split("\n\n")
    assert (question, title, note) == ("**Where?**", "**Cities**", "People in millions.")
    assert (beware, bullets) == ("Beware:", "- a_b\n- \\<c\\>")
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in pipes.splitlines()] == [
        ["name", "people there", "story", ""],
        [":-------", "---------------:", ":----------------------------", "-----:"],
        ["Ulm", "0.125 m", "It has the highest steeple.", r"\*\*"],
        ["=1+1", "inf m", "none", ""],
    ]
    page = text(WHOLE, "latex")
    assert page.startswith("Where?\n\n\\begin{table}\n\\centering\n\\caption{Cities. People in millions.}")
    assert r"\begin{tabular}{lrp{0.4\textwidth}r}" in page
    assert page.endswith("Beware:\n\\begin{itemize}\n\\item a\\_b\n\\item \\textless{}c\\textgreater{}\n\\end{itemize}")
    assert drawn(WHOLE).splitlines() == [
        "Where?",
        "",
        "Cities",
        "name  people there  story",
        "─" * 51,
        "Ulm        0.125 m  It has the highest steeple.  **",
        "=1+1         inf m  none",
        "People in millions.",
        "",
        "Beware",
        "  - a_b",
        "  - <c>",
    ]


def test_sentences_are_wrapped_in_the_room_that_is_left_and_else_stand_beneath_their_row() -> None:
    told = Document([table(City("Ulm", 0.5, (), "It has the highest steeple of all, and a river that is blue."))])
    rows = [line.split() for line in drawn(told, 60).splitlines()[3:6]]
    assert rows[0][:6] == ["Ulm", "0.5", "m", "It", "has", "the"]
    assert rows[1][:3] == ["a", "river", "that"]
    assert drawn(told, 40).splitlines()[1:5] == [
        "name  people there",
        "────────────────────",
        "Ulm          0.5 m",
        "    It has the highest steeple of all,",
    ]


def test_a_long_name_is_broken_between_the_parts_of_its_settings_and_not_within_a_number() -> None:
    city = City("sam[wrap.sam.rho=0.05,lr=0.125]", 0.125)
    narrow = drawn(Document([table(city, order=("name", "people"))]), 22).splitlines()
    assert [line.split()[0] for line in narrow[4:-1]] == ["sam[wrap.", "sam.", "rho=0.05,", "lr=0.125]"]
    assert "sam[wrap.sam.rho=0.05,lr=0.125]" in text(Document([table(city)]), "csv")


def test_a_name_that_is_broken_takes_the_room_that_there_is() -> None:
    city = City("a small town with a long name far away in the hills", 0.5)
    wide, narrow = (drawn(Document([table(city, order=("name", "people"))]), width) for width in (48, 34))
    [first, second] = [line.split("  ")[0] for line in wide.splitlines()][-3:-1]
    assert (first, second) == ("a small town with a long name far", "away in the hills")
    assert len(narrow.splitlines()) > len(wide.splitlines())


def test_what_a_caption_says_is_left_out_of_latex_alone() -> None:
    said = Document([Paragraph("It passes.", captioned=True), Table("x", (), (), caption="It passes.")])
    assert text(said, "latex").count("It passes.") == 1
    assert "It passes." in text(said, "markdown")


def test_a_log_keeps_its_lines_and_a_name_does_not() -> None:
    log = Document([Paragraph("one\n\ttwo \x1b[31m", title="Log", indent=2, preformatted=True)])
    assert drawn(log).splitlines() == ["Log", "  one", r"          two \x1b[31m"]
    assert drawn(Document([Paragraph("one\ntwo")])) == "one\\ntwo\n"
    assert text(log, "markdown").startswith("**Log**\n\none\n")


def test_facts_are_names_with_what_holds_for_them() -> None:
    machine = Document([facts({"cpu": "a fast one", "memory": "24 GiB"}, title="This machine", indent=2)])
    assert drawn(machine).splitlines() == ["This machine", "  cpu     a fast one", "  memory  24 GiB"]


NAMES = st.text("ab 漢é", min_size=1, max_size=30)
NUMBERS = st.floats(allow_nan=False, width=32)


@given(st.lists(st.builds(City, NAMES, NUMBERS, st.just(()), NAMES), max_size=4), st.integers(30, 120))
def test_at_any_width_no_line_is_longer_and_no_number_is_cut(cities: list[City], width: int) -> None:
    shown = drawn(Document([table(*cities)]), width)
    assert max(map(cell_len, shown.splitlines())) <= width
    assert all(f"{city.people:g}" in shown for city in cities)


def test_an_unknown_format_is_an_error_that_names_the_others() -> None:
    with pytest.raises(ClipbenchError, match="no format 'html'") as caught:
        render(WHOLE, "html")
    assert all(fmt in str(caught.value) for fmt in FORMATS)


@pytest.mark.parametrize("fmt", FORMATS)
def test_nothing_is_something_in_every_format(fmt: Format) -> None:
    assert text(Document([table()]), fmt).strip()
