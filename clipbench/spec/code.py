"""The identity of a piece of code: what it does counts, how it is commented and laid out does not."""

import ast
import hashlib
from pathlib import Path

# Where a construct stands, what follows from its place, and what only older type checkers read.
_NO_MEANING = {"ctx", "kind", "type_comment", "type_ignores"}
_HAS_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_sha256(tree: ast.AST) -> str:
    """SHA-256 of a module's code, comments, docstrings and layout left out; hex digits.

    The syntax tree is written out by rules of its own, empty fields left out, because `ast.dump` and
    `ast.unparse` change with the Python version and a run's key must not.
    """
    return hashlib.sha256(_canonical(tree).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's code, or of its bytes where it is no Python source; hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    try:
        return code_sha256(ast.parse(content))
    except (SyntaxError, ValueError):
        return hashlib.sha256(content).hexdigest()


def _canonical(node: object) -> str:
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__}:{node.value!r}"
    if isinstance(node, list):
        return f"[{','.join(_canonical(item) for item in node)}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, _HAS_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    written = [
        f"{name}={_canonical(value)}"
        for name, value in sorted(fields.items())
        if name not in _NO_MEANING and value is not None and value != []
    ]
    return f"{type(node).__name__}({','.join(written)})"
