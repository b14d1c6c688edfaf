"""Results folders of strangers, at random: through every command that reads, and under runs that go on in them.

    python tests/fuzz/folders.py --folders 1500 --runs 200 [--first 0] [--seed 0]

No command may end in a traceback, take more than 10 s of the processor or 1 GB of memory, end with an exit code that
is not documented, execute what a folder names, or touch what lies outside it. Prints what it found, and fails for it.
"""

import argparse
import faulthandler
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO, TextIOWrapper
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.mutations import below, folders_of_runs, mutate

from clipbench import cli, store
from clipbench.measurements import Measurement
from clipbench.planning.staging import staged
from clipbench.records import Environment, Outcome, Run
from clipbench.spec import Overrides, load

SECONDS, BYTES, WAIT = 10.0, 1 << 30, 60  # of the processor, of memory, seconds of the clock
CODES = {0, 1, 2, 3, 4}
SPEC = """\
task: {use: quadratic, dimension: 8}
optimizers:
  sgd: {use: sgd, lr: 0.005}
  clipped: {use: sgd, lr: 0.005, clip: {fraction: 0.2}}
budget: {steps: 12}
evaluate: {every: 4}
measure: {every: 6, probes: [sharpness]}
seeds: [0, 1]
target: {loss: 2.0}
device: cpu
"""
ENVIRONMENT = Environment("0", "3.11", "2", "cpu", "a CPU", 1, 1, {"tf32": False}, {"cores": 2}, "n", "m")


@dataclass
class Findings:
    """What went wrong, and how much was tried."""

    wrong: list[str] = field(default_factory=list)
    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    slowest: float = 0.0


@dataclass(frozen=True)
class Ground:
    """A place with a spec, whole results, and canaries: a module, and files outside of the results."""

    root: Path

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    def prepared(self) -> "Ground":
        self.outside.mkdir(parents=True)
        (self.outside / "file.txt").write_text("mine")
        (self.root / "bad.yaml").write_text(SPEC)
        (self.root / "canary.py").write_text("import pathlib\npathlib.Path('outside/executed').write_text('canary')\n")
        return self

    def touched(self) -> str:
        """What lies outside of the results, hashed: names, kinds, contents."""
        found = hashlib.sha256()
        for path in sorted(self.outside.rglob("*")):
            kind = path.lstat()
            found.update(f"{path} {kind.st_mode} {kind.st_size}".encode(errors="surrogateescape"))
            if path.is_file():
                found.update(path.read_bytes())
        return found.hexdigest()


def planted(ground: Ground) -> Path:
    """Whole results of the spec, made up but under the keys of its plan; another run lies outside."""
    stage = staged(load(ground.root / "bad.yaml", Overrides(device="cpu")), ())
    for run in stage.runs:
        folder = store.folder_of(run, ground.results)
        store.describe(run, folder)
        writer = store.Writer(folder)
        for step in range(0, 13, 4):
            writer(Measurement(step, step * 0.01, "", "eval_loss", 3.0 - 0.1 * step + 0.01 * run.seed))
            writer(Measurement(step, step * 0.01, "own", "directional_sharpness", 1.0 + step))
        writer.sync()
        writer.close()
        outcome = Outcome("finished", steps=12, weights_sha256=run.key * 5, step_seconds=0.01, started=1.0)
        store.finish(folder, outcome, ENVIRONMENT)
    store.write_question(stage.question, ground.results)
    _lay_outside(stage.runs[0], ground)
    return ground.results


def _lay_outside(run: Run, ground: Ground) -> None:
    store.describe(replace(run, seed=7), ground.outside / "run")


def commands(random: Random, whole: Path, there: Path) -> list[list[str]]:
    """Every reading command, each with one of its many forms."""
    formats = ("table", "markdown", "latex", "csv", "json")
    runs = folders_of_runs(there)
    some = random.choice(runs) if runs else there
    asked = ("", "--metric steps", "--metric seconds", "--metric sharpness", "--at 50%", "--by arm", "--section race")
    more = ("--section matched", "--section shared", "--target 2.5", "--baseline sgd", "--threshold 0.01")
    options = random.choice(asked + more).split()
    return [
        ["compare", str(there), "--format", random.choice(formats), *options],
        ["audit", str(there), "--format", random.choice(formats)],
        ["claims", str(there)],
        ["check", str(there), "--baseline", str(whole)],
        ["check", str(whole), "--baseline", str(there)],
        ["check", str(there), "--save-baseline", str(there.parent / "baseline.json")],
        ["check", str(whole), "--baseline", str(_some_file(random, there))],
        ["show", str(some)],
        ["show", some.name[:8], "-o", str(there)],
        ["list", "runs", str(there), *random.choice(([], ["--json"]))],
        ["merge", str(whole), str(there), "-o", str(there.parent / "merged")],
        ["merge", str(whole), "-o", str(there)],
        ["plan", "bad.yaml", "-o", str(there)],
    ]


def _some_file(random: Random, there: Path) -> Path:
    """What the user gives by name may be any file."""
    files = [path for path in below(there) if not path.is_dir()]
    return random.choice(files) if files else there / "none"


@contextmanager
def _streams() -> Iterator[TextIOWrapper]:
    """Streams as a process has them; what is written to either is kept."""
    before, stream = (sys.stdout, sys.stderr, sys.argv), TextIOWrapper(BytesIO(), encoding="utf-8")
    sys.stdout = sys.stderr = stream
    try:
        yield stream
    finally:
        sys.stdout, sys.stderr, sys.argv = before


def _stopped(*_: object) -> None:
    raise TimeoutError("it waits")


def answered(words: Sequence[str]) -> tuple[int, str]:
    """The exit code of one command in this process; with what was raised, where it did not end as it should."""
    with _streams():
        sys.argv = ["clipbench", *words]
        signal.signal(signal.SIGALRM, _stopped)
        signal.alarm(WAIT)
        try:
            cli.main()
        except SystemExit as end:
            return (end.code, "") if isinstance(end.code, int) else (-1, f"exit code {end.code!r}")
        except BaseException:
            return -1, traceback.format_exc()
        finally:
            signal.alarm(0)


def read_at_random(seed: int, numbers: Sequence[int], findings: Findings) -> None:
    """Each number is one mutated folder, given to every reading command."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        whole = planted(Ground(Path(temporary) / "whole").prepared())
        for number in numbers:
            random = Random(f"{seed}/{number}")
            ground = Ground(Path(temporary) / str(number)).prepared()
            shutil.copytree(whole, ground.results)
            shutil.copytree(whole.parent / "outside", ground.outside, dirs_exist_ok=True)
            made = mutate(random, ground.results, ground.outside)
            before = ground.touched()
            os.chdir(ground.root)
            try:
                for words in commands(random, whole, ground.results):
                    _judge(f"folder {number} ({', '.join(made)})", words, findings)
            finally:
                os.chdir(here)
            if ground.touched() != before:
                findings.wrong.append(f"folder {number} ({', '.join(made)}): something outside was touched")
            subprocess.run(["rm", "-rf", str(ground.root)], check=True)  # deeper than Python removes


def _judge(about: str, words: Sequence[str], findings: Findings) -> None:
    begin = time.process_time()
    code, raised = answered(words)
    spent = time.process_time() - begin
    findings.slowest = max(findings.slowest, spent)
    findings.codes[words[0], code] += 1
    if raised or code not in CODES or (code == 1 and words[0] not in ("check", "audit")):
        findings.wrong.append(f"{about}: {' '.join(words)}: exit code {code}\n{raised}")
    if spent > SECONDS:
        findings.wrong.append(f"{about}: {' '.join(words)}: {spent:.1f} s")


def run_at_random(seed: int, numbers: Sequence[int], findings: Findings) -> None:
    """Each number is one mutated folder in which a real `clipbench run` goes on; what it makes has the right bits."""
    with tempfile.TemporaryDirectory() as temporary:
        whole = Ground(Path(temporary) / "whole").prepared()
        _process(whole.root, ["run", "bad.yaml"])
        right = _weights(whole.results)
        _lay_outside(store.read_all(whole.results)[0][0].run, whole)
        for number in numbers:
            random = Random(f"{seed}/{number}")
            ground = Ground(Path(temporary) / str(number)).prepared()
            shutil.copytree(whole.results, ground.results)
            shutil.copytree(whole.outside, ground.outside, dirs_exist_ok=True)
            if random.random() < 0.5:
                _unfinished(random, ground.results)
            made = mutate(random, ground.results, ground.outside)
            before = ground.touched()
            code, said, spent = _process(ground.root, ["run", "bad.yaml"])
            about = f"run {number} ({', '.join(made)})"
            findings.codes["run", code] += 1
            findings.slowest = max(findings.slowest, spent)
            if code not in CODES - {1} or "Traceback" in said:
                findings.wrong.append(f"{about}: exit code {code}\n{said[-3000:]}")
            if ground.touched() != before:
                findings.wrong.append(f"{about}: something outside was touched\n{said[-3000:]}")
            if code == 0 and not _weights(ground.results).items() >= right.items():
                findings.wrong.append(f"{about}: other bits\n{said[-3000:]}")
            subprocess.run(["rm", "-rf", str(ground.root)], check=True)


def _unfinished(random: Random, results: Path) -> None:
    """A run as an interruption leaves it, without a checkpoint."""
    folder = random.choice(folders_of_runs(results))
    run = store.read(folder).run
    shutil.rmtree(folder)
    store.describe(run, folder)
    writer = store.Writer(folder)
    writer(Measurement(0, 0.0, "", "eval_loss", 1.0))
    writer.sync()
    writer.close()


def _weights(results: Path) -> dict[str, str]:
    """Of each run that lies where its plan has it, by its key, the hash of its weights."""
    found = {}
    for record in store.read_all(results)[0]:
        if Path(record.folder) == store.folder_of(record.run, results) and record.outcome:
            found[record.run.key] = record.outcome.weights_sha256
    return found


def _process(here: Path, words: Sequence[str]) -> tuple[int, str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "clipbench", *words],
        cwd=here,
        env=environment,
        capture_output=True,
        timeout=300,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace"), spent


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folders", type=int, default=1500)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the number of the first folder")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    findings = Findings()
    faulthandler.register(signal.SIGUSR1)
    read_at_random(options.seed, range(options.first, options.first + options.folders), findings)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if peak > BYTES:
        findings.wrong.append(f"{peak} bytes of memory")
    if options.runs:
        run_at_random(options.seed, range(options.first, options.first + options.runs), findings)
    for wrong in findings.wrong:
        print(wrong)  # noqa: T201
    counted = ", ".join(f"{name} {code}: {times}" for (name, code), times in sorted(findings.codes.items()))
    print(f"{options.folders} folders and {options.runs} runs: {len(findings.wrong)} faults; exit codes {counted}; ")  # noqa: T201
    print(f"slowest {findings.slowest:.1f} s of the processor, {peak / 1e6:.0f} MB at the peak")  # noqa: T201
    sys.exit(bool(findings.wrong))


if __name__ == "__main__":
    main()
