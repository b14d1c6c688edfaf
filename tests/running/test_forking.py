"""Processes are forked without the program's main file, and the program goes on as if nobody forked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import pickle, threading
from clipbench.running.forking import context, start

with open("runs", "a") as file:
    file.write("main\\n")
faults, ended = [], threading.Event()

def mine():
    pass

def pickling():
    while not ended.wait(0.001):
        try:
            pickle.dumps(mine)
        except pickle.PicklingError as error:
            faults.append(error)

thread = threading.Thread(target=pickling)
thread.start()
process = context().Process(target=print, args=("here",))
start(process)  # waits until the server has loaded torch
process.join()
ended.set()
thread.join()
assert process.exitcode == 0
assert not faults, faults[0]
"""


@pytest.mark.slow
def test_a_process_runs_no_main_file_again_and_other_threads_find_what_is_in_it(tmp_path: Path) -> None:
    """The file asks for no `__main__`: run again, it would start processes in each process."""
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr
    assert (tmp_path / "runs").read_text() == "main\n"
