"""What the server that forks the workers loads for them, and what it leaves to each worker."""

import json
import subprocess
import sys

import pytest

from clipbench.sources.owners import HASHED
from clipbench.spec import catalogue

pytestmark = pytest.mark.slow  # a new process loads torch

SCRIPT = """
import json, sys, threading
import clipbench.running.preload
import torch
server, threads = set(sys.modules), threading.active_count()
from importlib import import_module
for shelf in json.loads(sys.argv[1]):
    import_module(shelf)
later = sorted(set(sys.modules) - server)
print(json.dumps([sorted(server), later, torch.cuda.is_initialized(), threads]))
"""


def test_the_server_loads_all_that_shelves_share_and_no_file_of_a_shelf() -> None:
    shelves = [f"clipbench.{kind}.{name}" for kind in catalogue.KINDS for name in catalogue.names(kind)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(shelves)], capture_output=True, text=True, check=True, timeout=100
    )
    server, later, cuda, threads = json.loads(done.stdout.splitlines()[-1])
    assert not set(shelves) & set(server)
    assert set(shelves) <= set(later)
    # A part whose code is in the keys of runs is loaded by the worker, as it is on the disk when the run begins.
    assert [name for name in later if name.startswith("clipbench.") and name.split(".")[1] not in HASHED] == []
    assert "scipy.stats" not in [*server, *later]  # most of a second, for functions of a few lines
    assert not cuda
    assert threads == 1
