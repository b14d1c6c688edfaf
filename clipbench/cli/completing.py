"""What the shell completes: names from the specs or the results that the line has so far, else from `results`.

The parts of clipbench are imported where they are needed, since each key that asks starts a process. What cannot be
read completes nothing: the command itself says why.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import typer

from clipbench.errors import ClipbenchError

_WITH_A_MEANING = re.compile(r"[^\w@%+=:,./-]")  # to a shell


def specs(incomplete: str) -> list[str]:
    """The YAML files of the current folder and the specs that come with clipbench."""
    from clipbench.spec import bundled

    own = (name for name, path in bundled.names().items() if "\nclaims:" not in path.read_text(encoding="utf-8"))
    return _fitting([*map(str, sorted(Path().glob("*.y*ml"))), *own], incomplete)


def arms(ctx: typer.Context, incomplete: str) -> list[str]:
    """The arms of the specs as written, or those that have runs in the results."""
    return _fitting(_of_specs(ctx) if "specs" in ctx.params else _of_results(ctx, 2), incomplete)


def tasks(ctx: typer.Context, incomplete: str) -> list[str]:
    """The tasks that have runs in the results; for `init` those that a spec may use."""
    return _fitting(_of_results(ctx, 1) if "results" in ctx.params else _offered("tasks"), incomplete)


def optimizers(incomplete: str) -> list[str]:
    """The optimizers that a spec in the current folder may use."""
    return _fitting(_offered("optimizers"), incomplete)


def engines(incomplete: str) -> list[str]:
    """The engines that there are."""
    from clipbench.running.engines import names

    return _fitting(names(), incomplete)


def quantities(ctx: typer.Context, incomplete: str) -> list[str]:
    """Quantities of the results; of several with commas between them the last."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _fitting(_recorded(ctx), last)]


def _fitting(names: Iterable[str], incomplete: str) -> list[str]:
    fitting: dict[str, None] = {}
    with suppress(ClipbenchError, OSError):
        fitting.update((name, None) for name in names if name.startswith(incomplete) and name.isprintable())
    # What bash inserts, it reads as if it had been typed; other shells quote it themselves.
    bash = os.environ.get("_CLIPBENCH_COMPLETE") == "complete_bash"
    return [_WITH_A_MEANING.sub(r"\\\g<0>", name) if bash else name for name in fitting]


def _named(ctx: typer.Context, argument: str) -> list[str]:
    """The words of an argument; where the line ends with an option that lacks its value, Click leaves them apart."""
    return [*map(str, ctx.params.get(argument) or ctx.args)]


def _of_specs(ctx: typer.Context) -> Iterator[str]:
    from clipbench.spec.document import read

    for path in _named(ctx, "specs"):
        written = read(Path(path)).data.get("optimizers")
        yield from map(str, written if isinstance(written, dict) else ())


def _run_folders(ctx: typer.Context) -> Iterator[Path]:
    from clipbench import store

    for folder in _named(ctx, "results") or ["results"]:
        yield from store.run_folders(Path(folder))


def _of_results(ctx: typer.Context, part: int) -> Iterator[str]:
    """The spec (0), task (1) or arm (2) of every run, as its folder is named."""
    from clipbench import store

    yield from (store.place_of(folder)[part] for folder in _run_folders(ctx))


def _recorded(ctx: typer.Context) -> Iterator[str]:
    """The quantities of the first run of each task and arm."""
    from clipbench import quantities, store

    first = {folder.parent: folder for folder in reversed([*_run_folders(ctx)])}
    records = []
    for folder in first.values():
        with suppress(ClipbenchError):  # a damaged run takes no other's away
            records.append(store.read(folder))
    yield from quantities.known(records)


def _offered(kind: str) -> Iterator[str]:
    from clipbench.spec import catalogue, offers

    for known_kind in catalogue.KINDS:
        if known_kind == kind:
            yield from offers.offers(known_kind, folder=Path.cwd())
