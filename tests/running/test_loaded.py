"""What a worker loaded of the user's own code, held against the key; here all in one process."""

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from making import make_run

from clipbench.errors import ClipbenchError
from clipbench.records import Arm, Choice, Run
from clipbench.running.loaded import LoadedCode
from clipbench.sources.modules import Code, source

Using = Callable[..., Run]


@pytest.fixture
def using(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Using:
    """Writes modules and gives a run whose optimizer, or probe, is of the first; its key has the `known` of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def make(files: Mapping[str, str], known: tuple[str, ...], *, probe: bool = False) -> Run:
        for name, text in files.items():
            monkeypatch.delitem(sys.modules, name, raising=False)
            (tmp_path / f"{name}.py").write_text(text)
        first = next(iter(files))
        code = Code({name: tmp_path / f"{name}.py" for name in known}, frozenset({"package==1.0"}))
        thing = Choice("x", f"{first}:X", f"{first}:X", source=source(code, measures=first if probe else ""))
        run = make_run()
        if probe:
            return replace(run, measure=replace(run.measure, probes=(thing,)))
        return replace(run, arm=Arm("x", thing))

    return make


def test_a_file_that_was_loaded_and_is_not_in_the_key_is_named(using: Using) -> None:
    run = using({"la_mine": "import la_known, la_missed", "la_known": "", "la_missed": ""}, ("la_mine", "la_known"))
    loaded = LoadedCode(run)
    importlib.import_module("la_mine")
    loaded.refuse_changed()
    assert loaded.unknown() == ("code unknown: la_missed.py",)


def test_code_that_runs_without_being_imported_is_named(using: Using, tmp_path: Path) -> None:
    loaded = LoadedCode(using({"lb_mine": "", "lb_rules": "X = 1"}, ("lb_mine",)))
    spec = spec_from_file_location("any name", tmp_path / "lb_rules.py")
    assert spec
    assert spec.loader
    spec.loader.exec_module(module_from_spec(spec))
    assert loaded.unknown() == ("code unknown: lb_rules.py",)


@pytest.mark.parametrize(("by", "named"), [(pytest.__file__, ()), ("mine.py", ("code unknown: lg_made.py",))])
def test_what_a_package_generates_and_runs_is_not_the_users(
    using: Using, tmp_path: Path, by: str, named: tuple[str, ...]
) -> None:
    loaded = LoadedCode(using({"lg_mine": "", "lg_made": "X = 1"}, ("lg_mine",)))
    made = compile("X = 1", str(tmp_path / "lg_made.py"), "exec")
    exec(compile("exec(made)", by, "exec"), {"made": made})
    assert loaded.unknown() == named


def test_a_module_that_is_loaded_late_is_as_planned_or_unknown(using: Using, tmp_path: Path) -> None:
    loaded = LoadedCode(using({"lc_mine": "", "lc_late": "", "lc_edited": ""}, ("lc_mine", "lc_late", "lc_edited")))
    importlib.import_module("lc_mine")
    loaded.refuse_changed()
    (tmp_path / "lc_edited.py").write_text("X = 1")
    (tmp_path / "lc_mine.py").write_text("X = 1")  # loaded and compared before: what runs is as planned
    importlib.import_module("lc_late")
    importlib.import_module("lc_edited")
    assert loaded.unknown() == ("code unknown: lc_edited.py",)


@pytest.mark.parametrize("probe", [False, True])
def test_code_that_was_edited_after_planning_ends_the_run(using: Using, tmp_path: Path, probe: bool) -> None:
    run = using({"ld_mine": "import ld_help", "ld_help": "X = 1"}, ("ld_mine", "ld_help"), probe=probe)
    (tmp_path / "ld_help.py").write_text("X = 2")
    loaded = LoadedCode(run)
    importlib.import_module("ld_mine")
    with pytest.raises(ClipbenchError, match="the code of 'ld_mine:X' changed after the run was planned") as caught:
        loaded.refuse_changed()
    assert (caught.value.where, caught.value.remedy) == ("ld_help.py", "run the spec again")


def test_how_a_probes_numbers_are_read_is_no_change_of_its_code(using: Using, tmp_path: Path) -> None:
    run = using({"le_mine": "QUANTITIES = {'a': 1}"}, ("le_mine",), probe=True)
    (tmp_path / "le_mine.py").write_text("QUANTITIES = {'a': 2}")
    loaded = LoadedCode(run)
    importlib.import_module("le_mine")
    loaded.refuse_changed()
    assert loaded.unknown() == ()


def test_a_run_of_the_shelf_compares_nothing(using: Using) -> None:
    using({"lf_mine": ""}, ())
    loaded = LoadedCode(make_run())
    importlib.import_module("lf_mine")
    loaded.refuse_changed()
    assert loaded.unknown() == ()
