"""The command `report`: one file, the answers on it, and what it refuses."""

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli.front import Ask, asking, stored
from conftest import NOT_INSTALLED
from judging.made import question, quickstart, record, run

from clipbench.report.page.cards import cards
from clipbench.report.page.figures import figures
from clipbench.report.page.page import _in_script
from clipbench.report.page.sections import sections
from clipbench.report.page.subject import subject_of

HOME = Path(__file__).parents[3]
ASKED = question("sgd", "sgd+clip", "adam", target=3.05)


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(tmp_path)
    stored(quickstart(), Path("results"), question=ASKED)
    return asking(monkeypatch, capsys)


def test_without_the_packages_that_draw_it_the_command_names_them(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("vl_convert", "jinja2"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            answer = ask("report", "results")
        assert (answer.code, answer.out) == (2, "")
        assert "pip install vl-convert-python jinja2" in answer.err
        assert not Path("report.html").exists()


def test_a_folder_is_not_overwritten(ask: Ask) -> None:
    Path("out").mkdir()
    answer = ask("report", "results", "-o", "out")
    assert (answer.code, answer.out) == (2, "")
    assert "out: this is a folder" in answer.err


def test_what_is_no_ordinary_file_is_not_replaced_and_a_link_is_followed(ask: Ask) -> None:
    os.mkfifo("pipe")
    answer = ask("report", "results", "-o", "pipe")
    assert (answer.code, answer.out) == (2, "")
    assert "pipe: this is no ordinary file" in answer.err
    assert Path("pipe").is_fifo()
    pytest.importorskip("vl_convert", reason=f"{NOT_INSTALLED}vl-convert-python")
    Path("kept.html").write_text("before")
    Path("link.html").symlink_to("kept.html")
    assert ask("report", "results", "-o", "link.html").code == 0
    assert Path("link.html").is_symlink()
    assert Path("kept.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.slow
def test_pictures_that_cannot_be_written_are_told(ask: Ask) -> None:
    pytest.importorskip("vl_convert", reason=f"{NOT_INSTALLED}vl-convert-python")
    for name in ("loss.svg", "differences.svg"):
        Path("pictures", name).mkdir(parents=True)
    answer = ask("report", "results", "--pictures", "pictures")
    assert answer.code == 2
    assert "cannot write this file" in answer.err
    assert "--pictures" in answer.err


def test_a_comparison_without_runs_of_its_baseline_has_a_page() -> None:
    subject = subject_of([each for each in quickstart() if each.run.arm.name != "sgd"], ASKED)
    assert [figure.name for figure in figures(subject, "code_lm")][:2] == ["loss", "loss_seconds"]


@pytest.mark.slow
def test_the_page_of_runs_that_claims_are_about_has_the_claims(ask: Ask) -> None:
    pytest.importorskip("vl_convert", reason=f"{NOT_INSTALLED}vl-convert-python")
    assert ask("report", HOME / "results/reference/cpu/claims/geometry").code == 0
    assert "<h2>Claims</h2>" in Path("report.html").read_text(encoding="utf-8")


def test_a_page_holds_one_spec(ask: Ask) -> None:
    other = [replace(each, run=replace(each.run, spec="other")) for each in quickstart()]
    stored(other, Path("results"), question=replace(ASKED, spec="other"))
    answer = ask("report", "results")
    assert (answer.code, answer.out) == (2, "")
    assert "quickstart and other" in answer.err or "other and quickstart" in answer.err


def test_without_runs_there_is_no_page(ask: Ask) -> None:
    Path("empty").mkdir()
    assert ask("report", "empty").code == 3
    assert not Path("report.html").exists()


@pytest.mark.slow
def test_the_page_and_its_pictures_are_written(ask: Ask) -> None:
    pytest.importorskip("vl_convert", reason=f"{NOT_INSTALLED}vl-convert-python")
    Path("page.html").write_text("before")
    answer = ask("report", "results", "-o", "page.html", "--pictures", "pictures")
    assert (answer.code, answer.out) == (0, "page.html\n")
    text = Path("page.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert not re.search(r"<\w+[^>]*\b(src|href)=", text.partition("<script")[0])
    names = {path.name for path in Path("pictures").iterdir()}
    assert {"loss.svg", "loss.png", "loss.pdf", "differences.pdf"} <= names
    assert Path("pictures/loss.pdf").read_bytes().startswith(b"%PDF")
    assert Path("pictures/loss.png").read_bytes().startswith(b"\x89PNG")
    drawn = Path("pictures/loss.svg").read_text(encoding="utf-8")
    assert 'width="240"' in drawn
    assert "sgd+clip" in drawn  # the legend


def test_the_first_card_is_about_the_arms_and_the_others_about_the_clip() -> None:
    first, *others = cards(subject_of(quickstart(), ASKED), "code_lm")
    assert first.asked == "Final loss against sgd: 1 undecided, 1 broken"
    assert (first.word, first.tone) == ("adam: broken", "bad")
    assert [card.asked.partition(": ")[2] for card in others] == [
        "lower sharpness?",
        "lower final loss?",
        "fewer steps to target?",
        "less time per step?",
    ]
    assert others[0].word == "yes"
    assert others[0].effect.endswith("×")
    assert others[0].basis.startswith("95 % interval")
    assert others[1].word == "undecided"
    assert re.fullmatch(r"\d+ fresh seeds would decide", others[1].deciding)


def test_every_arm_is_counted_on_the_first_card_and_the_verdicts_own_number_of_differences_is_told() -> None:
    """adam diverged on all seeds, and late has a single one: verdicts are corrected for two of four arms."""
    ends = {"sgd": [3.0, 3.1, 3.2], "lion": [2.9, 3.2, 3.1], "sign": [3.1, 3.0, 3.3], "late": [2.0]}
    made = [record(run(arm, seed=seed), [5.0, loss]) for arm, of in ends.items() for seed, loss in enumerate(of)]
    made += [record(run("adam", seed=seed), [5.0, 9.0], status="diverged") for seed in range(3)]
    subject = subject_of(made, question(*ends, "adam"))
    assert cards(subject, "code_lm")[0].asked == "Final loss against sgd: 3 undecided, 1 broken"
    [differences] = [figure for figure in figures(subject, "code_lm") if figure.name == "differences"]
    assert "corrected for 2 differences" in differences.about
    only = subject_of([each for each in made if each.run.arm.name in ("sgd", "adam")], question("sgd", "adam"))
    [card] = cards(only, "code_lm")
    assert (card.asked, card.word) == ("Final loss against sgd: 1 broken", "no pair of seeds to compare")


def test_without_a_clip_there_are_cards_for_speed_and_sharpness() -> None:
    made = [
        record(run(arm, seed=seed), [5.0, *losses], sharpness=[sharpness * (1 + seed / 10)])
        for arm, losses, sharpness in (("sgd", [4.5, 4.5, 4.5, 3.0], 2.0), ("adam", [2.5, 2.4, 2.4, 2.4], 1.0))
        for seed in range(8)
    ]
    asked = [card.asked for card in cards(subject_of(made, question("sgd", "adam", target=3.05)), "code_lm")]
    assert asked == [
        "Final loss against sgd: 1 lower",
        "Fewer steps to 3.05 against sgd: 1 lower",
        "Lower sharpness against sgd: 1 lower",
    ]


def test_several_clips_have_a_card_each() -> None:
    more = [
        record(run("adam+clip", use="adam", lr=0.003, clip=0.1, seed=seed), [5.5, 3.0, 2.4 + seed / 10])
        for seed in range(2)
    ]
    asked = question("sgd", "sgd+clip", "adam", "adam+clip")
    made = cards(subject_of([*quickstart(), *more], asked), "code_lm")
    assert [card.asked for card in made[1:]] == ["sgd+clip against sgd", "adam+clip against adam"]
    assert made[1].word == "lower sharpness: yes"
    assert [line.partition(":")[0] for line in made[1].lines[1:]] == ["lower final loss", "less time per step"]


def test_a_clip_that_lowers_the_sharpness_and_worsens_the_loss_is_not_shown_as_good() -> None:
    arms: dict[str, tuple[float | None, float, float]] = {  # clip, final loss, sharpness
        "sgd": (None, 3.0, 5.0),
        "sgd+clip": (0.1, 3.5, 0.1),
        "adam": (None, 2.4, 5.0),
        "adam+clip": (0.1, 2.3, 0.1),
    }
    made = [
        record(
            run(arm, use=arm.partition("+")[0], clip=clip, seed=seed),
            [5.5, loss + seed * 0.01],
            sharpness=[sharpness, sharpness * (1 + seed / 10)],
        )
        for arm, (clip, loss, sharpness) in arms.items()
        for seed in range(5)
    ]
    asked = question("sgd", "sgd+clip", "adam", "adam+clip")
    [_, sgd, adam] = cards(subject_of(made, asked), "code_lm")
    assert (sgd.word, sgd.tone) == ("lower sharpness: yes", "")
    assert (adam.word, adam.tone) == ("lower sharpness: yes", "good")


def test_sections_are_there_only_if_they_have_something_to_say() -> None:
    titles = [section.title for section in sections(subject_of(quickstart(), ASKED))]
    assert "Claims" not in titles
    assert titles == [
        *("More comparisons", "Clipped arms and their twins", "Caveats", "Findings of the audit"),
        *("What every number means", "Environment", "Files"),
    ]


def test_data_cannot_end_the_script_it_stands_in() -> None:
    text = _in_script({"name": "</script><!-- &\u2028\u2029"})
    assert text.isascii()
    assert not set("<>&") & set(text)
