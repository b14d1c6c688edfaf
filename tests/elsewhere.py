"""Reading results and specs where no run can be made: without torch, or on a system without Unix' modules.

    python tests/elsewhere.py python3.11 python3.12 ...

builds the wheel and, for each Python, makes an environment with all that clipbench depends on but torch, in which it
gives every command of COMMANDS, with and without the modules that Windows lacks. It takes a minute a Python.
`test_elsewhere.py` does the same in the environment of the tests, with torch hidden.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HOME = Path(__file__).resolve().parents[1]
RESULTS = HOME / "results/reference/cpu/quickstart"

CACHES = (".*_cache", ".hypothesis", ".venv", ".git", "__pycache__", "_build", "build", "dist", "*.egg-info")

# What is read, by commands whose exit code is 0.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("compare", str(RESULTS)),
    ("audit", str(RESULTS)),
    ("check", str(RESULTS), "--save-baseline", "baseline.json"),
    ("check", str(RESULTS), "--baseline", "baseline.json"),
    ("validate", "quickstart"),
    ("plan", "quickstart", "--device", "cpu"),
    ("status", "quickstart", "--device", "cpu"),
    ("claims", str(HOME / "results/reference/cpu/claims")),
    ("list", "optimizers"),
    ("list", "runs", str(RESULTS)),
    ("list", "quantities", str(RESULTS)),
    ("show", str(next(RESULTS.glob("code_lm/adam/0-*")))),
    ("schema",),
    ("merge", str(RESULTS), "-o", "merged"),
    ("init", "here"),
)

# What Windows lacks is taken away before clipbench is imported, and torch too; psutil has other code there.
AWAY = """
import os, signal, sys
import psutil, subprocess, tempfile

def without(find):
    return lambda name, *rest: None if name.partition(".")[0] in away else find(name, *rest)

away = {"torch"}
if "windows" in sys.argv[1]:
    away |= {"fcntl", "grp", "pwd", "resource", "termios"}
    for module, names in (
        (os, "fork forkpty killpg setpgid register_at_fork sched_setaffinity O_NOFOLLOW O_NONBLOCK O_CLOEXEC"),
        (signal, "SIGHUP SIGPIPE SIGALRM SIGKILL pthread_sigmask setitimer"),
    ):
        for name in names.split():
            delattr(module, name)
for name in away:
    sys.modules.pop(name, None)
for finder in sys.meta_path:
    finder.find_spec = without(finder.find_spec)
"""
GIVE = """
import contextlib, io, json
from clipbench.cli import main

ends = []
for words in json.loads(sys.argv[2]):
    sys.argv[1:] = words
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code = repr(error)
    ends.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(ends))
"""


class End(NamedTuple):
    """How a command ended: its exit code, or an exception that nobody caught; what it printed."""

    code: int | str
    out: str
    err: str


def given(python: str, where: str, folder: Path, commands: Sequence[Sequence[str]]) -> list[End]:
    """Commands in `folder`, in one process from which torch, or also what Windows lacks (`where`), is taken away."""
    command = [python, "-c", AWAY + GIVE, where, json.dumps(commands)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [End(*end) for end in json.loads(done.stdout)]


def copied(folder: Path) -> Path:
    """A copy of what the distributions are built from: a build leaves files behind, which the next would take up."""
    shutil.copytree(HOME, folder, ignore=shutil.ignore_patterns(*CACHES))
    for each in (folder / "results").iterdir():
        if each.is_file():
            each.unlink()
        elif each.name != "reference":
            shutil.rmtree(each)
    return folder


def environment(python: str, folder: Path) -> str:
    """The Python of a new environment with clipbench and what it depends on, but for torch."""
    needed = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    subprocess.run([python, "-m", "venv", folder], check=True)
    own = str(folder / "bin/python")
    pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *(each for each in needed if not each.startswith("torch"))], check=True)
    [wheel] = folder.parent.glob("*.whl")
    subprocess.run([*pip, "--no-deps", wheel], check=True)
    return own


def main(pythons: list[str]) -> int:
    """Give every command in every environment; the number of those that failed."""
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = copied(folder / "source")
        subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source], check=True)
        for number, python in enumerate(pythons):
            own = environment(python, folder / str(number))
            version = subprocess.run([own, "-VV"], capture_output=True, text=True, check=True).stdout.split()[1]
            for where in ("without torch", "as on windows"):
                work = folder / f"{number} {where}"
                work.mkdir()
                ends = zip(COMMANDS, given(own, where, work, COMMANDS), strict=True)
                faults = [f"{' '.join(words)}: {end.code}\n{end.err}" for words, end in ends if end.code]
                sys.stdout.write(f"Python {version} {where}: {len(COMMANDS)} commands, {len(faults)} failed\n")
                sys.stdout.writelines(faults)
                failed += len(faults)
    return failed


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    sys.exit(min(main(sys.argv[1:]), 1))
