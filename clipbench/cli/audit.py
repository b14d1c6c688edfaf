"""`clipbench audit`: is the comparison fair?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clipbench import console, spec
from clipbench.cli.options import TableFormat
from clipbench.cli.results import by_spec, read
from clipbench.errors import FINDING, UndecidedError
from clipbench.harmless import on_one_line
from clipbench.judging.checks.audit import Audit, audit_plan
from clipbench.judging.checks.audit import audit as audit_records
from clipbench.planning.staging import staged
from clipbench.report.audit import document, summary
from clipbench.report.render import Format, render
from clipbench.report.text import lines_of
from clipbench.spec.bundled import located


def audit(
    targets: Annotated[list[Path], typer.Argument(metavar="RESULTS|SPEC...", help="Results folders, or specs.")],
    fmt: TableFormat = "table",
    explain: Annotated[bool, typer.Option("--explain", help="Show what each rule demands.")] = False,
) -> None:
    """Check whether the comparison is fair, rule by rule.

    Each rule passes, warns or fails. A spec is checked by the rules that need no runs. Exit code 1 if a rule fails.
    """
    specs = [target for target in targets if located(target).is_file() and not target.is_dir()]
    folders = [target for target in targets if target not in specs]
    groups = by_spec(read(folders))
    if folders and not groups:
        raise UndecidedError(
            f"no runs to audit in {', '.join(map(str, folders))}", remedy="runs are made by `clipbench run`"
        )
    audits = [_of_spec(target) for target in specs]
    audits += [audit_records(records, question) for question, records in groups.values()]
    console.put(render(document(audits, explain=explain), fmt))
    if any(each.of("fail") for each in audits):
        raise typer.Exit(FINDING)


def put_verdict(audit: Audit, *, fmt: Format, results: Sequence[Path]) -> None:
    """Print the audit in one line under a comparison's table; for CSV, JSON and LaTeX on stderr."""
    line = on_one_line(f"{summary(audit)}; details: {console.command('audit', *results)}")
    if fmt in ("csv", "json", "latex"):
        console.say(line)
    else:
        console.put(lines_of(f"\n{line}") if fmt == "table" else f"\n{line}")


def _of_spec(path: Path) -> Audit:
    # No rule that is checked before a run depends on the device, so `auto` needs no resolving.
    loaded = spec.load(path)
    stage = staged(replace(loaded, device="cpu") if loaded.device == "auto" else loaded, ())
    return audit_plan((*stage.runs, *stage.waiting), stage.question, trials=stage.trials)
