"""Files that a spec names for a task of the shelf: what is in them is in the keys of its runs, and torch stays away."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from clipbench import data
from clipbench.errors import ClipbenchError, SpecError
from clipbench.planning.runs import plan
from clipbench.spec import catalogue, load

SPEC = """\
task: {{use: {task}{options}}}
optimizers: {{sgd: {{use: sgd, lr: 0.1}}}}
budget: {{steps: 2}}
seeds: [0]
"""


def key(folder: Path, options: str, task: str = "causal_lm") -> str:
    (folder / "spec.yaml").write_text(SPEC.format(task=task, options=options and f", {options}"))
    [run] = plan(load(folder / "spec.yaml"), device="cpu")
    return run.key


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("texts/a.txt", "words/tokenizer.json", "weights/model.safetensors"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("as it was")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "file"),
    [
        ("data: texts", "texts/a.txt"),
        ("data: texts/a.txt", "texts/a.txt"),
        ("tokenizer: words", "words/tokenizer.json"),
        ("model: ./weights", "weights/model.safetensors"),
        ("data: texts, tokenizer: words, model: weights", "weights/model.safetensors"),
    ],
)
def test_a_byte_that_changed_makes_another_run(here: Path, options: str, file: str) -> None:
    before = key(here, options)
    assert key(here, options) == before
    (here / file).write_text("as it is!")
    assert key(here, options) != before


def test_what_lies_on_every_machine_counts_where_no_data_is_named_and_nowhere_else(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> list[str]:
        return [key(here, options) for options in ("", "tokenizer: words", "data: texts", "data: some/name")]

    before = keys()
    monkeypatch.setattr(data, "python_stdlib", lambda: b"another Python")
    after = keys()
    assert [ours != theirs for ours, theirs in zip(before, after, strict=True)] == [True, True, False, False]


def test_data_of_the_users_own_needs_no_package_of_the_data_that_it_replaces(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: str) -> str:
        raise PackageNotFoundError("num2words")

    monkeypatch.setattr(data, "version", missing)
    with pytest.raises(ClipbenchError, match="num2words"):
        key(here, "", task="seq2seq")
    assert key(here, "data: texts", task="seq2seq")


@pytest.mark.parametrize("path", ["./gone", "/gone/too", "~/gone", "a/b/c.txt"])
def test_a_path_at_which_there_is_nothing_is_a_fault_of_the_task(here: Path, path: str) -> None:
    with pytest.raises(SpecError, match=r"spec.yaml:1:7: task: there are no data at .*(gone|a/b/c.txt)"):
        key(here, f"data: {path}")


@pytest.mark.parametrize("name", ["t5-small", "google-t5/t5-small@main"])
def test_a_name_of_the_hub_is_planned_without_a_look_at_the_hub(here: Path, name: str) -> None:
    assert key(here, f"model: {name}") != key(here, "")


@pytest.mark.parametrize("files", ["'data'", "('nothing',)"])
def test_files_that_are_no_options_make_the_file_of_a_task_faulty(tmp_path: Path, files: str) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.py").write_text(
        f"FILES = {files}\ndef build(seed: int, device, *, data: str = '') -> None: ..."
    )
    assert "its FILES are not a tuple of the names of options" in catalogue.entry("tasks", "mine", root=tmp_path).broken
