"""`clipbench plan`: the runs of specs, and which of them exist."""

from collections.abc import Sequence
from pathlib import Path

from clipbench import console, store
from clipbench.cli.options import (
    Device,
    Filter,
    Json,
    Quick,
    ResultsFolder,
    SeedsOption,
    Sets,
    Specs,
    Threads,
    loaded,
    overrides,
)
from clipbench.cli.results import read
from clipbench.judging.words import count
from clipbench.planning.cost import cost_before, costly_probes, expected_cost, steps_of_epochs
from clipbench.planning.outlook import Outlook, look
from clipbench.report import planned
from clipbench.report.render import Format, render
from clipbench.spec import Spec


def plan(
    specs: Specs,
    results: ResultsFolder = Path("results"),
    sets: Sets = None,
    seeds: SeedsOption = None,
    only: Filter = None,
    quick: Quick = False,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Show which runs of a spec exist and which are missing, and how long these take."""
    asked = loaded(specs, overrides(sets, seeds, only, quick, device, threads))
    show_plans([outlook(spec, results) for spec in asked], results, fmt="json" if json else "table")


def outlook(spec: Spec, results: Path, *, extend: bool = False) -> Outlook:
    """The state of a spec's runs. Finished runs are read only if arms are tuned, since trials decide what is next."""
    folder = store.folder_of_spec(spec.name, results)
    records = read([folder]) if spec.tuning is not None and folder.exists() else []
    return look(spec, results, records, extend=extend)


def show_plans(outlooks: Sequence[Outlook], results: Path, *, fmt: Format = "table") -> None:
    """Print the plans on stdout, and their expected time on stderr."""
    for state in outlooks:
        stage, missing = state.stage, state.missing(results)
        folder = store.folder_of_spec(stage.question.spec, results)
        records = store.read_all(folder)[0] if folder.exists() else []
        console.put(render(planned.document(stage, missing={run.key for run in missing}, made=records), fmt))
        for words in steps_of_epochs([*stage.trials, *stage.runs, *stage.waiting], records):
            console.say(words)
        cost = expected_cost([*missing, *stage.waiting], records)
        if cost.known:
            console.say(f"{count(cost.known, 'run')} in sequence: about {cost.seconds:.0f} s, judging by earlier runs")
        if cost.unknown:
            console.say(f"{count(cost.unknown, 'run')} of unknown time: no run like them was made here")
        if before := cost_before(missing):
            console.say(before)
        for words in costly_probes(missing):
            console.say(words)
