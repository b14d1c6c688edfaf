import subprocess
import sys
from pathlib import Path

import pytest

from clipbench.spec.catalogue import KINDS, Entry, entry, names, shelf


def test_a_shelf_lists_its_files_and_leaves_out_those_with_an_underscore(shelves: Path) -> None:
    (shelves / "tasks" / "_notes.py").write_text("")
    assert names("tasks", shelves) == ("bowl", "valley")
    assert [one.name for one in shelf("tasks", shelves)] == ["bowl", "valley"]


def test_an_entry_says_all_that_its_file_tells(shelves: Path) -> None:
    bowl = entry("tasks", "bowl", root=shelves)
    assert (bowl.summary, bowl.target, bowl.data, bowl.broken) == ("A bowl.", "bench.tasks.bowl:build", "bowl_data", "")
    assert [(one.name, one.type, one.default, one.doc) for one in bowl.options] == [
        ("width", "int", 8, "how many parameters."),
        ("spread", "tuple[float, ...]", (1.0, 2.0), "curvatures."),
        ("name", "str", "a", ""),
    ]
    assert [one.listed for one in bowl.options] == [False, True, False]


def test_required_options_constants_and_aliases_are_understood(shelves: Path) -> None:
    options = {one.name: one for one in entry("optimizers", "descent", root=shelves).options}
    assert options["lr"].required
    assert not options["cap"].required
    assert options["eps"].default == 1e-8
    assert options["form"].default == "plain"
    # A whole number as the default of a float is that float: the key of a run must not depend on it.
    assert repr(options["momentum"].default) == "0.0"


def test_the_source_changes_with_the_code_alone(shelves: Path) -> None:
    path = shelves / "probes" / "norms.py"
    before = entry("probes", "norms", root=shelves).source
    path.write_text("# a comment\n" + path.read_text().replace("Measure it.", "Measures it."))
    assert entry("probes", "norms", root=shelves).source == before
    path.write_text(path.read_text().replace("samples: int = 1", "samples: int = 2"))
    assert entry("probes", "norms", root=shelves).source != before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def build(:\n", "odd.py:1: not valid Python"),
        ("x = 1\n", "it has no function build(named_parameters, *, options)"),
        ("async def build(named_parameters): ...\n", "it has no function build"),
        ("def build(): ...\n", "is not of the shape build(named_parameters, *, options)"),
        ("def build(named_parameters, lr: float): ...\n", "options are keyword-only"),
        ("def build(named_parameters, *more): ...\n", "options are keyword-only"),
        ("def build(named_parameters, **options): ...\n", "takes **options: each option must be named"),
        ("def build(named_parameters, *, lr): ...\n", "its option 'lr' cannot be read: it has no type"),
        ("def build(named_parameters, *, lr: list[float]): ...\n", "its type `list[float]` is not one of"),
        ("def build(named_parameters, *, lr: 'float |'): ...\n", "its option 'lr' cannot be read"),
        ("def build(named_parameters, *, lr: float = None): ...\n", "its option 'lr' cannot be read: not of type"),
        ("def build(named_parameters, *, lr: float = f()): ...\n", "its option 'lr' cannot be read"),
        ("DATA = 3\ndef build(named_parameters): ...\n", "its DATA is not the name of a source"),
        ("x = '\0'\n", "odd.py"),
    ],
)
def test_a_faulty_file_says_so_and_leaves_the_shelf_in_use(shelves: Path, text: str, said: str) -> None:
    (shelves / "optimizers" / "odd.py").write_text(text)
    found = {one.name: one for one in shelf("optimizers", shelves)}
    assert said in found["odd"].broken
    assert str(shelves / "optimizers" / "odd.py") in found["odd"].broken
    assert found["descent"].broken == ""


def _real() -> list[Entry]:
    return [one for kind in KINDS for one in shelf(kind)]


def test_every_file_on_the_real_shelves_can_be_used() -> None:
    assert {one.name: one.broken for one in _real() if one.broken} == {}
    assert {"sgd", "adam", "code_lm", "sharpness"} <= {one.name for one in _real()}


def test_every_entry_and_option_of_the_real_shelves_says_what_it_is() -> None:
    assert [one.name for one in _real() if not one.summary] == []
    assert [(one.name, option.name) for one in _real() for option in one.options if not option.doc] == []


def test_no_optimizer_of_the_real_shelf_has_a_learning_rate_of_its_own() -> None:
    for one in shelf("optimizers"):
        assert next(option for option in one.options if option.name == "lr").required


@pytest.mark.slow
def test_the_real_shelves_are_read_without_importing_torch() -> None:
    script = (
        "import sys; from clipbench.spec.catalogue import KINDS, shelf; "
        "assert sum(len(shelf(kind)) for kind in KINDS) > 3; "
        "assert 'torch' not in sys.modules and 'clipbench.tasks' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
