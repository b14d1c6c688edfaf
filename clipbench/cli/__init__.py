"""The front door: parse, call, print, one file for each command. No command imports torch into this process."""

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
    from clipbench.cli import audit, check, claims, compare, doctor, init, merge, plan, run, show, validate
except KeyboardInterrupt:  # this takes a moment, in which nothing is at work yet
    sys.exit(INTERRUPTED)

EPILOG = (
    "Exit codes: 0 did the job; 1 a finding; 2 usage or spec error, nothing ran; 3 could not decide; "
    "4 finished, but a run failed (divergence is a result, not a failure); 130 interrupted, and resumable."
)

# Typer ships a Click of its own, and has a public name for this error of it alone.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    help="A benchmark for deep-learning optimizers: loss, time and directional sharpness, side by side.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> NoReturn:
    """Run the command line; a ClipbenchError becomes its words on stderr and its exit code."""
    _fill_in_closed_streams()
    console.prepare()
    # A comparison makes small things by the million, in no circle that would have to be found: look less often than
    # each 700 of them, which takes a tenth of the time of reading ten thousand runs.
    gc.set_threshold(1_000_000)
    atexit.register(_let_go)
    try:
        code = app(prog_name="clipbench", standalone_mode=False)
    except ClipbenchError as error:
        console.complain(error)
        sys.exit(error.exit_code)
    except _UsageError as error:
        words = StringIO()
        error.show(words)  # to a text first: it repeats what was typed, which may be anything
        console.tell(words.getvalue())
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(code or 0)


def _fill_in_closed_streams() -> None:
    """Give a stream that is closed (`>&-`) a descriptor again, or the next file to be opened would be written in its
    place. What is written to a closed stdout still fails; words for a closed stderr go nowhere."""
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _let_go() -> None:
    """End without looking once more at each thing that was made, which takes a sixth of the time of such a reading.

    Not where torch is loaded: its libraries count at the end what was not taken apart, and complain.
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


app.command()(init.init)
app.command()(run.run)
app.command()(plan.plan)
app.command()(validate.validate)
app.command()(compare.compare)
app.command()(merge.merge)
app.command()(audit.audit)
app.command()(claims.claims)
app.command()(check.check)
app.command()(doctor.doctor)
app.command()(show.show)
app.command("list")(show.list_)
app.command()(show.schema)
