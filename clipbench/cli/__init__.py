"""The command line. A command has a file of its own: parse, call, print. No command imports torch here."""

import atexit
import gc
import os
import sys
from io import StringIO
from typing import Annotated, Any, NoReturn

from clipbench.errors import INTERRUPTED, ClipbenchError

try:
    import typer

    from clipbench import __version__, console
    from clipbench.cli.commands import Commands
except KeyboardInterrupt:  # imports take a moment; no run has started yet
    sys.exit(INTERRUPTED)

EPILOG = (
    "Exit codes: 0 success; 1 a finding, such as a regression; 2 usage or spec error, nothing ran; 3 too little data "
    "to decide; 4 finished, but a run failed (divergence is a result, not a failure); 130 interrupted, can be resumed."
)

# Typer ships a Click of its own, and has a public name for this error of it alone.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    cls=Commands,
    help="A benchmark for deep-learning optimizers: loss, time and directional sharpness, side by side.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> NoReturn:
    """Run the command line. A ClipbenchError is printed on stderr and gives the exit code."""
    _fill_in_closed_streams()
    console.prepare()
    # A comparison makes millions of small objects and no reference cycles. At its default threshold of 700 objects the
    # garbage collector takes a tenth of the time of reading ten thousand runs.
    gc.set_threshold(1_000_000)
    atexit.register(_skip_final_collection)
    try:
        code = app(prog_name="clipbench", standalone_mode=False)
    except ClipbenchError as error:
        console.complain(error)
        sys.exit(error.exit_code)
    except _UsageError as error:
        message = StringIO()
        error.show(message)  # not to stderr directly: it repeats the user's input, which may hold control characters
        # Typer passes on what pydantic says of a value that is no choice.
        console.tell(message.getvalue().replace(": Value error, ", ": "))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(code or 0)


def _fill_in_closed_streams() -> None:
    """Open closed standard streams (`>&-`) on the null device; else the next opened file would take their descriptor.

    Writing to a closed stdout still fails. Messages for a closed stderr are lost.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _skip_final_collection() -> None:
    """Skip the final garbage collection, which takes a sixth of the time of reading ten thousand runs.

    Not if torch is loaded: its libraries complain at exit about objects that were not freed.
    """
    if "torch" not in sys.modules:
        gc.freeze()


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        console.put(f"clipbench {__version__}")
        raise typer.Exit
