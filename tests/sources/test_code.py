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
