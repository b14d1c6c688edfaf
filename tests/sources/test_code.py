import ast
import hashlib
from pathlib import Path

import pytest

from clipbench.sources.code import code_sha256, file_sha256

CODE = '''
"""Doc."""
X = 1

def f(a, *, b=2.0):
    """Doc of f."""
    return a + b

class C:
    """Doc of C."""
'''


def digest(text: str) -> str:
    return code_sha256(ast.parse(text))


def test_comments_docstrings_and_layout_do_not_count() -> None:
    other = "X=1 # one\ndef f(a,*,b=2.0):\n\n  'another'\n  return (a+b)\nclass C:\n  'c'\n"
    assert digest(other) == digest(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X = 1", "X = 2"),
        ("X = 1", "X = 1.0"),
        ("X = 1", "X = True"),
        ("X = 1", "X = None"),
        ("X = 1", "X = '1'"),
        ("X = 1", "Y = 1"),
        ("a + b", "a - b"),
        ("a + b", "b + a"),
        ("return a + b", "return"),
        ("b=2.0", "b=2.5"),
        ("*, b", "b"),
    ],
)
def test_any_change_of_the_code_counts(old: str, new: str) -> None:
    assert digest(CODE.replace(old, new)) != digest(CODE)


def test_the_digest_is_the_same_under_every_python_version() -> None:
    # Written down from the rules, not from a run of ast.dump or ast.unparse, which change between versions.
    written = b"Module(body=[Assign(targets=[Name(id='x')],value=int:1)])"
    assert digest("x = 1") == hashlib.sha256(written).hexdigest()


def test_a_file_that_is_no_python_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(b"\x7fELF\x00")
    first = file_sha256(path)
    path.write_bytes(b"\x7fELF\x01")
    assert file_sha256(path) != first


def test_a_python_file_is_known_by_its_code(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(CODE)
    assert file_sha256(path) == digest(CODE)


def test_letters_count_and_are_written_as_every_python_writes_them() -> None:
    # repr() shows a letter as it is only where Python's own tables know it, and they grow with its versions.
    written = b"Module(body=[Assign(targets=[Name(id='x')],value=str:'\\u03b8')])"
    assert digest("x = 'θ'") == hashlib.sha256(written).hexdigest() != digest("x = 'ϑ'")


def test_code_that_is_nested_too_deeply_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(f"x = {'+'.join('1' * 5000)}\n")
    first = file_sha256(path)
    path.write_text(f"x = {'+'.join('1' * 5000)} # once\n")
    assert file_sha256(path) != first


PROBE = "def measure(snapshot): ...\n"


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("", "QUANTITIES = {'a': ('lower', 'log')}\n", True),
        ("QUANTITIES = {'a': 1}\n", "QUANTITIES: dict[str, int] = {'a': 2}\n", True),
        ("QUANTITIES = ['a']\n", "QUANTITIES = ['a', 'b']\n", True),
        ("QUANTITIES = make(1)\n", "QUANTITIES = make(2)\n", False),
        ("QUANTITIES = ['a']\nX = QUANTITIES[0]\n", "QUANTITIES = ['b']\nX = QUANTITIES[0]\n", False),
        ("OTHER = ['a']\n", "OTHER = ['b']\n", False),
        ("if 1:\n    QUANTITIES = ['a']\n", "if 1:\n    QUANTITIES = ['b']\n", False),
    ],
)
def test_how_a_probes_numbers_are_read_does_not_count(tmp_path: Path, one: str, two: str, same: bool) -> None:
    path = tmp_path / "x.py"
    path.write_text(one + PROBE)
    first, as_code = file_sha256(path, measures=True), file_sha256(path)
    path.write_text(two + PROBE)
    assert (file_sha256(path, measures=True) == first) is same
    assert file_sha256(path) != as_code
