"""The identity of a piece of code: what it does counts, how it is commented and laid out does not."""

import ast
import hashlib
from pathlib import Path

# A literal constant of this name in the file of a probe or a task says how its numbers are read, and changes none.
READINGS = "QUANTITIES"

# Where a construct stands, what follows from its place, and what only older type checkers read.
_NO_MEANING = {"ctx", "kind", "type_comment", "type_ignores"}
_HAS_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_sha256(tree: ast.AST) -> str:
    """SHA-256 of a module's code, comments, docstrings and layout left out; hex digits.

    The syntax tree is written out by rules of its own, empty fields left out, because `ast.dump` and
    `ast.unparse` change with the Python version and a run's key must not.
    """
    return hashlib.sha256(_canonical(tree).encode()).hexdigest()


def file_sha256(path: Path, *, measures: bool = False) -> str:
    """SHA-256 of a file's code, or of its bytes where it is no Python source; hex digits.

    Args:
        path: the file.
        measures: it is the file of a probe or a task, whose literal constant QUANTITIES does not count.

    Raises:
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    try:
        tree = ast.parse(content)
        return code_sha256(without_readings(tree) if measures else tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the latter two: an expression nested too deeply
        return hashlib.sha256(content).hexdigest()


def without_readings(tree: ast.Module) -> ast.Module:
    """A module without its literal constant QUANTITIES; as it is where its code uses that name anywhere."""
    kept = [statement for statement in tree.body if not _is_readings(statement)]
    used = any(isinstance(node, ast.Name) and node.id == READINGS for statement in kept for node in ast.walk(statement))
    return tree if used else ast.Module(kept, type_ignores=[])


def _is_readings(statement: ast.stmt) -> bool:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            pass
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            pass
        case _:
            return False
    return name == READINGS and _is_literal(value)


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # all that literal_eval documents
        return False
    return True


def _canonical(node: object) -> str:
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__}:{node.value!a}"  # not !r: which letters that shows depends on Python
    if isinstance(node, list):
        return f"[{','.join(_canonical(item) for item in node)}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, _HAS_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    written = [
        f"{name}={_canonical(value)}"
        for name, value in sorted(fields.items())
        if name not in _NO_MEANING and value is not None and value != []
    ]
    return f"{type(node).__name__}({','.join(written)})"
