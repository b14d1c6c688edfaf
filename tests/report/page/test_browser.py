"""The page in a real browser: reference results, and results whose every name acts where it can."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.test_hostile_names import NAME, hostile
from conftest import NOT_INSTALLED
from judging.made import question, record, run
from report.page.browser import Opened, browsing, eventually, opened

from clipbench.cli.report import report
from clipbench.report.page.page import page as page_of
from clipbench.report.page.page import pictured
from clipbench.report.page.subject import subject_of

pytestmark = pytest.mark.slow

REFERENCE = Path(__file__).parents[3] / "results/reference/cpu"
MOST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("vl_convert", reason=f"{NOT_INSTALLED}vl-convert-python")
    with browsing() as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def quickstart(browser: Any, folder: Path) -> Path:  # noqa: ARG001  (skipped without a browser)
    report([REFERENCE / "quickstart"], folder / "quickstart.html")
    return folder / "quickstart.html"


@pytest.fixture(scope="module")
def strange(browser: Any, folder: Path) -> Path:  # noqa: ARG001
    hostile(folder / "strange", (5.0, 4.0, 3.0))
    report([folder / "strange"], folder / "strange.html")
    return folder / "strange.html"


@pytest.fixture(scope="module")
def shared(browser: Any, quickstart: Path) -> Opened:
    return opened(browser, quickstart)


@pytest.fixture
def page(shared: Opened, quickstart: Path) -> Iterator[Opened]:
    """One page for many tests: each leaves arms and axes as they were."""
    yield shared
    assert shared.messages == []
    assert shared.asked == [quickstart.as_uri()]  # nothing but the file itself


def test_the_page_of_the_quickstart_can_be_mailed(quickstart: Path) -> None:
    assert quickstart.stat().st_size < MOST_BYTES


def test_the_first_screen_holds_the_question_the_answers_and_the_first_pictures(page: Opened) -> None:
    lowest = page.page.evaluate(
        """() => Math.max(...[...document.querySelectorAll(
            "h1, .card, .chips, .switches, #loss .plot")].map((each) => each.getBoundingClientRect().bottom))"""
    )
    assert lowest <= 900
    assert page.page.locator(".card:visible").count() >= 2
    assert page.page.locator("#loss figure").count() == 3


def test_a_hidden_arm_leaves_every_picture_and_comes_back(page: Opened) -> None:
    chip = page.page.locator(".chip[data-arm=lion]")
    before = page.marks()
    by_part = page.page.locator("[data-figure=ledger] .mark-rect.role-mark path").count()
    assert set(before) >= {"loss", "loss_seconds", "differences", "sharpness", "speed", "profile", "ledger"}
    chip.focus()
    page.page.keyboard.press("Space")
    assert chip.get_attribute("aria-pressed") == "false"
    assert eventually(lambda: page.marks() == {name: max(0, marks - 1) for name, marks in before.items()})
    assert page.page.locator("[data-figure=ledger] .mark-rect.role-mark path").count() < by_part
    page.page.keyboard.press("Space")
    assert eventually(lambda: page.marks() == before)


def test_the_target_is_drawn_in_both_pictures_of_the_loss(page: Opened) -> None:
    for name in ("loss", "loss_seconds"):
        assert page.page.locator(f"[data-figure={name}] .mark-rule.role-mark line").count() == 1


def test_hiding_the_highest_arms_rescales_a_picture(page: Opened) -> None:
    ticks = page.page.locator("[data-figure=sharpness] .role-axis-label text")
    before = ticks.all_text_contents()
    page.page.locator(".chip[data-arm=sgd]").click()
    assert eventually(lambda: ticks.all_text_contents() != before)
    page.page.locator(".chip[data-arm=sgd]").click()
    assert eventually(lambda: ticks.all_text_contents() == before)


def test_the_axes_can_be_chosen(page: Opened) -> None:
    titles = page.page.locator("[data-figure=loss] .role-axis-title text")
    ticks = page.page.locator("[data-figure=loss] .role-axis-label text")
    assert titles.all_text_contents() == ["steps", "evaluation loss"]
    linear = ticks.all_text_contents()
    page.page.locator("button[data-axis=tokens]").click()
    page.ready()
    assert titles.all_text_contents() == ["tokens", "evaluation loss"]
    page.page.locator("button[data-axis=seconds]").click()
    page.ready()
    assert titles.all_text_contents() == ["training seconds", "evaluation loss"]
    assert page.page.locator("[data-figure=loss_seconds] .role-axis-title text").first.text_content() == "steps"
    page.page.locator("button[data-axis=step]").click()
    page.page.locator("button[data-scale=log]").click()
    page.ready()
    assert ticks.all_text_contents() != linear
    page.page.locator("button[data-scale=linear]").click()
    page.ready()
    assert ticks.all_text_contents() == linear
    page.page.locator("button[data-part=whole]").click()
    page.ready()
    assert "5.5" not in linear
    assert "5.5" in ticks.all_text_contents()  # the loss at step 0
    page.page.locator("button[data-part=later]").click()
    page.ready()
    assert ticks.all_text_contents() == linear


def test_a_table_is_sorted_by_its_numbers(page: Opened) -> None:
    heading = page.page.locator("th", has=page.page.get_by_role("button", name="final loss")).first
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    names = page.page.locator("table", has=heading).first.locator("tbody tr td:nth-child(2)").all_text_contents()
    assert (names[0], names[-1]) == ("adafactor", "sgd")
    heading.get_by_role("button").click()
    names = page.page.locator("table", has=heading).first.locator("tbody tr td:nth-child(2)").all_text_contents()
    assert (names[0], names[-1]) == ("sgd", "adafactor")


def test_the_numbers_behind_a_picture_stand_in_a_table(page: Opened) -> None:
    figure = page.page.locator("[data-figure=differences]")
    figure.locator("summary", has_text="Numbers").click()
    assert eventually(lambda: figure.locator("tbody tr").count() == 6)
    assert any(line.startswith("+ lionlower") for line in figure.locator("tbody tr").all_text_contents())


def test_pictures_and_marks_have_words_for_a_screen_reader(page: Opened) -> None:
    for picture in page.page.locator("figure .plot svg.marks").all():
        assert picture.get_attribute("role") == "graphics-document" or picture.locator("[role]").count()
    labels = page.page.locator("[data-figure=differences] .arm_marks path").evaluate_all(
        "(marks) => marks.map((mark) => mark.getAttribute('aria-label'))"
    )
    assert any(label and "lion" in label and "verdict: lower" in label for label in labels)
    assert page.page.locator("button:not([aria-pressed]):not(.sort)").count() == 0


def test_the_page_is_dark_where_the_reader_wants_it(browser: Any, quickstart: Path) -> None:
    dark = opened(browser, quickstart, scheme="dark")
    back, ink = dark.page.evaluate(
        "(() => { const of = getComputedStyle(document.body); return [of.backgroundColor, of.color]; })()"
    )
    label = dark.page.locator(".role-axis-label text").first.evaluate("(text) => getComputedStyle(text).fill")
    assert brightness(back) < 60 < 130 < brightness(label) < brightness(ink)
    assert dark.messages == []
    dark.page.close()


def brightness(colour: str) -> float:
    parts = [float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    return sum(parts) / 3


def test_the_page_prints_on_a4(page: Opened) -> None:
    printed = page.page.pdf(prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    assert b"/MediaBox [0 0 594" in printed or b"/MediaBox [0 0 595" in printed


def test_hostile_names_are_text(browser: Any, strange: Path) -> None:
    made = opened(browser, strange)
    assert made.messages == []
    assert made.asked == [strange.as_uri()]
    shown = made.page.locator(".chip").first.get_attribute("data-arm")
    assert shown.startswith(r"=1+1[red]\x1b[31m\x1b]8;;http://x\x07")
    assert made.page.locator("b, a[href^=http]").count() == 0
    text = strange.read_text(encoding="utf-8")
    assert not any(character in text for character in NAME if not character.isprintable() and character not in "\n\t")
    before = made.marks()["loss"]
    made.page.locator(".chip").first.click()
    assert eventually(lambda: made.marks()["loss"] == before - 1 == 1)
    made.page.close()


def test_a_script_as_a_name_is_no_script(browser: Any, folder: Path) -> None:
    names = ("</script><script>window.owned = 1</script>", "__proto__", "a.b[0]\u2028", "constructor", "'\"`${1}")
    records = [record(run(name, use="sgd", seed=seed), [5.0, 4.0, 3.0 + seed]) for name in names for seed in range(2)]
    subject = subject_of(records, question(*names, baseline=names[1]))
    path = folder / "script.html"
    path.write_text(page_of(subject, pictured(subject)), encoding="utf-8")
    made = opened(browser, path)
    assert made.messages == []
    assert made.page.evaluate("window.owned") is None
    assert made.marks()["loss"] == len(names)
    assert made.marks()["differences"] == len(names) - 1
    for chip in made.page.locator(".chip").all():
        chip.click()
    assert eventually(lambda: made.marks()["loss"] == 0)
    made.page.close()


def test_every_picture_of_single_steps_has_its_marks(browser: Any, folder: Path) -> None:
    report([REFERENCE / "claims/geometry"], folder / "geometry.html")
    made = opened(browser, folder / "geometry.html")
    assert made.messages == []
    before = made.marks()
    assert {name for name, marks in before.items() if marks} >= {"shared", "landscape_0", "coordinates", "taylor"}
    made.page.locator("#task").select_option("1")
    made.ready()
    assert made.page.locator(".line:visible").text_content().startswith("number_translation")
    made.page.locator("#quantity").select_option("over_slope")
    made.ready()
    assert made.page.locator("[data-figure=over_slope] .arm_marks path").count() == 2
    made.page.locator(".chip[data-arm=adam]").click()
    assert eventually(lambda: made.marks()["coordinates"] == 1)
    assert json.loads(made.page.locator("#data").text_content())["tasks"][1]["name"] == "number_translation"
    made.page.close()


def test_a_loss_below_zero_is_drawn_on_the_logarithmic_scale_too(browser: Any, folder: Path) -> None:
    records = [
        record(run(arm, use="sgd", seed=seed), [1.0, -2.0, -3.0 - seed]) for arm in ("sgd", "adam") for seed in range(2)
    ]
    path = folder / "negative.html"
    subject = subject_of(records, question("sgd", "adam"))
    path.write_text(page_of(subject, pictured(subject)), encoding="utf-8")
    made = opened(browser, path)
    made.page.locator("button[data-scale=log]").click()
    made.ready()
    assert made.messages == []
    marks = made.page.locator("[data-figure=loss] .arm_marks path")
    assert marks.count() == 2
    assert all("NaN" not in (mark.get_attribute("transform") or "NaN") for mark in marks.all())
    made.page.close()
