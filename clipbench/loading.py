"""Results as lists of dicts, for pandas, polars and notebooks. Nothing here imports torch.

    pandas.DataFrame(clipbench.load("results/quickstart"))           # a row for each run
    polars.DataFrame(clipbench.load_curves("results/quickstart"))    # a row for each recorded value

Both take the runs that `compare` uses: those of the latest plan, one for each task, arm and seed. Caveats, and runs
that cannot be read, are printed on stderr. Names are as they were written: a stranger's may hold control characters.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipbench.cli.results import in_force_of
from clipbench.export.curves import COLUMNS, rows
from clipbench.quantities import final_loss
from clipbench.records import Outcome, Record

_OF_OUTCOME = (
    *("reason", "steps", "samples", "tokens", "train_seconds", "step_seconds", "wall_seconds"),
    *("state_bytes", "peak_bytes"),
)


def load(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The runs in and below a folder, each as a flat dict with the same keys.

    `options` and `clip` are JSON text, since arms have different options; `clip` is None without a clip. `status` is
    finished, diverged, failed or unfinished; an unfinished run has None for what is known only at the end.
    `final_loss` is the last evaluation loss so far, NaN before the first.

    Raises:
        ClipbenchError: there is no such folder, it has no runs, or they cannot be told apart.
    """
    return [_facts(record) for record in in_force_of([Path(folder)])]


def load_curves(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The recorded values of the same runs, each as a dict with the columns of `clipbench export --to csv`.

    Raises:
        ClipbenchError: as `load` does.
    """
    return [dict(zip(COLUMNS, row, strict=True)) for record in in_force_of([Path(folder)]) for row in rows(record)]


def _facts(record: Record) -> dict[str, Any]:
    run, outcome = record.run, record.outcome
    return {
        "spec": run.spec,
        "task": run.task.name,
        "arm": run.arm.name,
        "seed": run.seed,
        "optimizer": run.arm.optimizer.use,
        "options": json.dumps(dict(run.arm.options)),
        "clip": json.dumps(asdict(run.arm.clip)) if run.arm.clip else None,
        "device": run.device,
        "status": outcome.status if outcome else "unfinished",
        "final_loss": final_loss(record),
        **_ending(outcome),
        "key": record.identity,
        "folder": record.folder,
    }


def _ending(outcome: Outcome | None) -> dict[str, Any]:
    return {name: getattr(outcome, name, None) for name in _OF_OUTCOME}
