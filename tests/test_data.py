import gzip
import hashlib
import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from clipbench import data
from clipbench.data import SOURCES, STDLIB_FILES, python_stdlib, sklearn_digits
from clipbench.errors import ClipbenchError

FINGERPRINTS = (
    "import sys, json; from clipbench.data import SOURCES; prints = {n: s.fingerprint() for n, s in SOURCES.items()}"
)


@pytest.mark.parametrize("name", SOURCES)
def test_a_fingerprint_is_a_sha256_and_the_same_every_time(name: str) -> None:
    fingerprint = SOURCES[name].fingerprint()
    assert len(bytes.fromhex(fingerprint)) == 32
    assert SOURCES[name].fingerprint() == fingerprint


def test_fingerprints_are_the_same_in_another_process_and_need_neither_torch_nor_the_packages() -> None:
    code = FINGERPRINTS + "; print(json.dumps([prints, sorted(sys.modules)]))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    fingerprints, modules = json.loads(output)
    assert fingerprints == {name: source.fingerprint() for name, source in SOURCES.items()}
    assert not {"torch", "numpy", "sklearn", "num2words"} & set(modules)


@pytest.mark.parametrize(("name", "read"), [("python_stdlib", python_stdlib), ("sklearn_digits", sklearn_digits)])
def test_the_fingerprint_is_that_of_exactly_the_bytes_a_task_reads(name: str, read: Callable[[], bytes]) -> None:
    assert SOURCES[name].fingerprint() == hashlib.sha256(read()).hexdigest()


def test_the_standard_library_gives_about_a_megabyte_of_text() -> None:
    text = python_stdlib()
    assert 1_000_000 < len(text) < 2_500_000
    assert "def __init__(self" in text.decode()
    assert list(STDLIB_FILES) == sorted(set(STDLIB_FILES))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of three small files."""
    for name in ("argparse.py", "heapq.py", "uuid.py"):
        (tmp_path / name).write_text(f"# {name}\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    return tmp_path


def test_the_text_is_that_of_the_files_in_the_order_of_the_list(library: Path) -> None:
    assert library.is_dir()
    assert python_stdlib() == b"# argparse.py\n# heapq.py\n# uuid.py\n"


def test_a_file_that_this_python_lacks_is_left_out_and_changes_the_fingerprint(library: Path) -> None:
    before = SOURCES["python_stdlib"].fingerprint()
    (library / "heapq.py").unlink()
    assert python_stdlib() == b"# argparse.py\n# uuid.py\n"
    assert SOURCES["python_stdlib"].fingerprint() != before


def test_a_changed_file_changes_the_fingerprint(library: Path) -> None:
    before = SOURCES["python_stdlib"].fingerprint()
    (library / "uuid.py").write_text("# uuid.py \n")
    assert SOURCES["python_stdlib"].fingerprint() != before


def test_a_python_without_its_library_in_source_is_an_error_that_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(ClipbenchError, match="no source file of Python's standard library") as caught:
        python_stdlib()
    assert str(tmp_path) in str(caught.value)


def test_the_digits_are_1797_lines_of_64_pixels_and_a_digit() -> None:
    lines = gzip.decompress(sklearn_digits()).decode().splitlines()
    assert len(lines) == 1797
    assert {line.count(",") for line in lines} == {64}


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PathFinder, "find_spec", lambda *_: None)
    with pytest.raises(ClipbenchError, match=r"'scikit-learn', which is not installed") as caught:
        SOURCES["sklearn_digits"].fingerprint()
    assert "pip install 'clipbench[tasks]'" in str(caught.value)


def test_scikit_learn_without_its_digits_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModuleSpec("sklearn", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(PathFinder, "find_spec", lambda *_: spec)
    with pytest.raises(ClipbenchError, match="without its digits") as caught:
        SOURCES["sklearn_digits"].fingerprint()
    assert str(tmp_path / "datasets" / "data" / "digits.csv.gz") in str(caught.value)


def test_num2words_is_known_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SOURCES["num2words"].fingerprint()
    monkeypatch.setattr(data, "version", lambda _: "9.9.9")
    assert SOURCES["num2words"].fingerprint() == hashlib.sha256(b"num2words==9.9.9").hexdigest() != before


def test_without_num2words_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(data, "version", not_there)
    with pytest.raises(ClipbenchError, match=r"'num2words', which is not installed") as caught:
        SOURCES["num2words"].fingerprint()
    assert "pip install 'clipbench[tasks]'" in str(caught.value)
