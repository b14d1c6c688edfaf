"""What an optimizer wanted when it raised, by the words of its error, and what to write for it.

An optimizer is anybody's code, and raises what it likes. Its words are read only to say more than they do: an error
that is not known stays as it is.
"""

import re
from collections.abc import Callable

from clipbench.remedies import FACTORY, around, of_matrices

# What torch, or an optimizer, says where a gradient is differentiated that has no graph.
_OF_SECOND_ORDER = ("create_graph", "does not have a grad_fn", "does not require grad")

# By the error's words: what is said of the optimizer, with {0} for these words, and what to write, by its `use`.
_RULES: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    (
        r"does not support dense gradients",
        "takes sparse gradients alone, and those of this task are dense",
        lambda _: "use it for a group of embeddings, where the task makes them with nn.Embedding(sparse=True)",
    ),
    (
        r"does not support sparse gradients",
        "takes no sparse gradients",
        lambda _: "make the task's embeddings without sparse=True, or give them a group of their own",
    ),
    (
        r"Tensor\.__contains__ only supports",
        "wants its parameters in groups with keys of its own",
        lambda _: FACTORY,
    ),
    (
        r"must be set|^KeyError: ",
        "wants its parameters in groups with keys of its own ({0})",
        lambda _: FACTORY,
    ),
    (
        r"'list' object has no attribute '(named_parameters|parameters|modules|named_modules|children)'",
        "takes a model, and clipbench hands over parameters",
        lambda _: FACTORY,
    ),
    (
        r"'list' object has no attribute '(param_groups|step|defaults|state|zero_grad)'|"
        r"need to pass `params` when you pass",
        "goes around an optimizer",
        around,
    ),
    (
        r"^NotImplementedError",
        "has no step() that clipbench can call",
        lambda _: "write a subclass whose step() does what is to be called in its place",
    ),
    (
        r"[Pp]rocess group has not been initialized|init_process_group",
        "is for several processes, and a run is one process",
        lambda _: "use its form for one process",
    ),
    (r"^(ImportError|ModuleNotFoundError): ", "lacks a package ({0})", lambda _: "install it"),
    (
        r"\b[12]-?D\b|matrices|shapes cannot be multiplied|The size of tensor|must match the size",
        "does not take parameters of every shape ({0})",
        of_matrices,
    ),
)


def wants_closure(error: Exception) -> bool:
    """Whether what a step() without a closure raised says that it needs one."""
    text = str(error)
    return "closure" in text.lower() or text == "'NoneType' object is not callable"


def missing_argument(error: Exception) -> str:
    """The argument that a step() was called without, by the words of Python; empty where it was something else."""
    found = re.search(r"step\(\) missing \d+ required positional arguments?: (.+)", str(error))
    return found.group(1) if isinstance(error, TypeError) and found else ""


def wanting(use: str, error: Exception, *, create_graph: bool = False) -> tuple[str, str] | None:
    """What an optimizer wanted, in words that follow its name, and what to write; None where that is not known."""
    if not create_graph and any(words in str(error) for words in _OF_SECOND_ORDER):
        return "differentiates the gradient, of which there is no graph", "set `create_graph: true` on the arm"
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    for pattern, reason, remedy in _RULES:
        if re.search(pattern, words):
            return reason.format(words), remedy(use)
    return None
