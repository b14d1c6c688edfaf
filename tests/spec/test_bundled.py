"""Specs and claims that come with clipbench are used by name; a file of that name goes first."""

from pathlib import Path

import pytest
from spec.bench import MINIMAL, Bench

from clipbench.spec import bundled, load
from clipbench.spec.claims import load as load_claims


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_spec_is_loaded_by_its_name() -> None:
    spec = load("quickstart")
    assert (spec.name, len(spec.arms), spec.code) == ("quickstart", 7, "")
    assert len(load_claims(Path("pan_li_2023"))) == 21


def test_a_file_of_that_name_goes_first_and_a_folder_does_not(elsewhere: Path, bench: Bench) -> None:
    (elsewhere / "quickstart").mkdir()
    assert bundled.located(Path("quickstart")) == bundled.names()["quickstart"]
    (elsewhere / "quickstart").rmdir()
    (elsewhere / "quickstart").write_text(MINIMAL)
    assert [arm.name for arm in load("quickstart", shelves=bench.shelves).arms] == ["slow", "fast"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("none.yaml", "no such file"),
        ("folder/quick", "no such file"),
        ("quikstart", "no such file, nor does one of this name come with clipbench; did you mean 'quickstart'?"),
        (
            "benchmarks/quickstart.yaml",
            "no such file; the one that comes with clipbench is called 'quickstart', without a folder and .yaml",
        ),
    ],
)
def test_a_missing_file_names_what_may_have_been_meant(bench: Bench, word: str, said: str) -> None:
    [fault] = bench.faults(lambda: load(word))
    assert fault.partition(": ")[2] == said
