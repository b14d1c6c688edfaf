"""Which commands there are; each is imported when it is asked for, so that `--help` and a typo answer at once."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True)
class Command:
    """Where a command lives in clipbench.cli, as "module:function", and the beginning of its help."""

    target: str
    summary: str

    def load(self) -> Callable[..., Any]:
        module, _, function = self.target.partition(":")
        command: Callable[..., Any] = getattr(import_module(f"clipbench.cli.{module}"), function)
        return command


COMMANDS = {
    "init": Command("init:init", "Write a starter spec and a CI workflow that checks it."),
    "run": Command("run:run", "Make the runs that are missing, after a try of every arm."),
    "plan": Command("plan:plan", "The runs of a spec: what is reused, what is missing, and what it costs."),
    "validate": Command("validate:validate", "Check specs strictly; every error at once, with its line and column."),
    "compare": Command(
        "compare:compare", "The table: each arm against the baseline, paired by seed, with its caveats."
    ),
    "merge": Command("merge:merge", "Copy the runs of several folders into one."),
    "audit": Command("audit:audit", "Is the comparison fair? Each rule: pass, warn or fail."),
    "claims": Command("claims:claims", "Claims about optimizers, each with its number, interval and verdict."),
    "check": Command("check:check", "Did anything get worse? Exit code 1 for a regression, 3 where it is not decided."),
    "doctor": Command(
        "doctor:doctor", "What this machine is, whether equal seeds give equal bits, and how noisy it is."
    ),
    "show": Command("show:show", "One run: how it ended, its curve, where its time went, its environment."),
    "list": Command("show:list_", "What there is: tasks, optimizers, probes, runs, columns, quantities."),
    "schema": Command("show:schema", "The JSON Schema of a spec, for editors."),
}


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._loaded: dict[str, Any] = {}
        for name, place in COMMANDS.items():  # what help and suggestions look at
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
