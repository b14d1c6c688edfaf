"""The console script as a user starts it: a process of its own, in a folder that holds the specs of `specs/`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from clipbench.records import Record
from clipbench.store import read_all

CLIPBENCH = (str(Path(sys.executable).with_name("clipbench")),)
SPECS = Path(__file__).with_name("specs")
Done = subprocess.CompletedProcess[str]

# What the terminal or the CI that runs these tests has set must not decide how they end.
_OURS = ("CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PYTHONIOENCODING")


def workplace(folder: Path) -> Path:
    shutil.copytree(SPECS, folder, dirs_exist_ok=True)
    return folder


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OURS} | more


def clipbench(here: Path, *words: object, environ: Mapping[str, str] | None = None) -> Done:
    """One command, in the folder `here`; its words are told apart by str()."""
    command = [*CLIPBENCH, *map(str, words)]
    return subprocess.run(
        command, cwd=here, env=environ or environment(), capture_output=True, text=True, timeout=100, check=False
    )


def records(folder: Path) -> dict[str, Record]:
    """Every run below a folder by its name (`quadratic/sgd/seed 0`); all of them can be read."""
    found, errors = read_all(folder)
    assert not errors
    return {str(record.run): record for record in found}


def hashes(folder: Path) -> dict[str, str]:
    return {name: record.outcome.weights_sha256 for name, record in records(folder).items() if record.outcome}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; locks, which hold nothing, apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
