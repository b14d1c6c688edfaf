"""The list of commands. A command is imported when it is called, so that `--help` and typos answer at once."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from clipbench.errors import ClipbenchError


@dataclass(frozen=True)
class Command:
    """A command: `target` is its "module:function" in clipbench.cli, `summary` the first line of its help.

    `makes_runs`: it starts processes as only Linux and macOS do.
    """

    target: str
    summary: str
    makes_runs: bool = False

    def load(self) -> Callable[..., Any]:
        if self.makes_runs:
            require_unix()
        module, _, function = self.target.partition(":")
        command: Callable[..., Any] = getattr(import_module(f"clipbench.cli.{module}"), function)
        return command


COMMANDS = {
    "init": Command("init:init", "Write a starter spec, a task, and a CI workflow."),
    "run": Command("run:run", "Make the missing runs of specs. Resumable.", makes_runs=True),
    "plan": Command("plan:plan", "Show which runs of a spec exist and which are missing."),
    "status": Command("status:status", "Show how far the runs of specs are, whoever makes them."),
    "validate": Command("validate:validate", "Check specs without running them; show every error."),
    "compare": Command("compare:compare", "Compare arms with the baseline, seed by seed."),
    "report": Command("report:report", "Write one page with the answers, pictures and tables of a comparison."),
    "export": Command("export:export", "Write the recorded curves for other programs."),
    "merge": Command("merge:merge", "Copy the runs of several folders into one."),
    "audit": Command("audit:audit", "Check whether the comparison is fair, rule by rule."),
    "claims": Command("claims:claims", "Test claims about optimizers on runs."),
    "check": Command("check:check", "Check whether anything got worse than in a baseline, for CI."),
    "doctor": Command("doctor:doctor", "Describe this machine and measure its noise.", makes_runs=True),
    "show": Command("show:show", "Show a run: its end, curve, times, environment and log."),
    "list": Command("show:list_", "List tasks, optimizers, probes, runs, columns or quantities."),
    "schema": Command("show:schema", "Print the JSON Schema of a spec, for editors."),
}


def require_unix() -> None:
    """Raises ClipbenchError on a system where no run can be made: each run is a process that is forked."""
    if not hasattr(os, "fork"):
        remedy = "results that were made there can be read here: clipbench compare FOLDER"
        raise ClipbenchError("making runs needs Linux or macOS", remedy=remedy)


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._loaded: dict[str, Any] = {}
        for name, place in COMMANDS.items():  # for help and suggestions
            self.commands[name] = _as_command(lambda: None, name, help=place.summary)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        if cmd_name in COMMANDS and cmd_name not in self._loaded:
            self._loaded[cmd_name] = _as_command(COMMANDS[cmd_name].load(), cmd_name)
        return self._loaded.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        del ctx
        limit = formatter.width - 6 - max(map(len, self.commands))
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(limit)) for name, each in self.commands.items()])


def _as_command(function: Callable[..., Any], name: str, **settings: Any) -> Any:
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(name, **settings)(function)
    return typer.main.get_command(alone)
