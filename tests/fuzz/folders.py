"""Results folders of strangers, at random: through every command that reads, and under runs that go on in them.

    python tests/fuzz/folders.py --folders 1500 --runs 200 [--first 0] [--seed 0]

No command may end in a traceback, take more than 10 s of the processor or 1 GB of memory, end with an exit code that
is not documented, execute what a folder names, or touch what lies outside it. Of a run it is all its processes together
that may take no more, none of them may be left, and what it finishes has the bits of a run that nobody disturbed; half
of the folders have runs that were interrupted and kept a checkpoint. Prints what it found, and fails for it.
"""

import argparse
import faulthandler
import hashlib
import importlib
import json
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

from fuzz.mutations import another_state, below, folders_of_runs, mutate

from clipbench import cli, store
from clipbench.errors import StoreError
from clipbench.measurements import Measurement
from clipbench.planning.staging import staged
from clipbench.records import Environment, Outcome, Run
from clipbench.spec import Overrides, load

SECONDS, BYTES, WAIT = 10.0, 1 << 30, 60  # of the processor, of memory, seconds of the clock
PATIENCE = 300  # seconds of the clock for a run
CODES = {0, 1, 2, 3, 4}
RUN = ("run", "bad.yaml", "--jobs", "1")
STATE = another_state.__name__
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
LONGER = """\
task: {use: quadratic, dimension: 8}
optimizers:
  sgd: {use: sgd, lr: 0.00005, momentum: 0.9}
  clipped: {use: sgd, lr: 0.00005, clip: {fraction: 0.2}}
budget: {steps: 1500}
evaluate: {every: 250}
measure: {every: 500, probes: [sharpness]}
seeds: [0, 1]
device: cpu
"""  # long enough to be interrupted
CANARY = """\
import pathlib


def run(*_, **__):
    pathlib.Path({path!r}).write_text("canary")


run()
"""
ENVIRONMENT = Environment("0", "3.11", "2", "cpu", "a CPU", 1, 1, {"tf32": False}, {"cores": 2}, "n", "m")


@dataclass
class Findings:
    """What went wrong, and how much was tried."""

    wrong: list[str] = field(default_factory=list)
    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds of the processor
    here: int = 0  # bytes of this process, at the peak
    largest: int = 0  # bytes of a run's largest process
    outlived: float = 0.0  # seconds that a process was there after the command that started it
    with_checkpoints: int = 0  # folders of runs that were interrupted
    went_on: int = 0  # of those, how many commands went on from a checkpoint


@dataclass(frozen=True)
class Ground:
    """A place with a spec, whole results, and canaries: a module, and files outside of the results."""

    root: Path
    spec: str = SPEC

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    def prepared(self) -> "Ground":
        self.outside.mkdir(parents=True)
        (self.outside / "file.txt").write_text("mine")
        (self.root / "bad.yaml").write_text(self.spec)
        (self.root / "canary.py").write_text(CANARY.format(path=str(self.outside.absolute() / "executed")))
        return self

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This process works here, and the canary can be imported."""
        here, root = Path.cwd(), str(self.root)
        sys.modules.pop("canary", None)
        sys.path.insert(0, root)
        importlib.invalidate_caches()
        os.chdir(root)
        try:
            yield
        finally:
            os.chdir(here)
            sys.path.remove(root)

    def touched(self) -> str:
        """What lies outside of the results, hashed: names, kinds, contents."""
        found = hashlib.sha256()
        for path in sorted(deep(self.outside)):
            kind = path.lstat()
            found.update(f"{path} {kind.st_mode} {kind.st_size}".encode(errors="surrogateescape"))
            if path.is_file():
                with path.open("rb") as file:
                    found.update(file.read(1 << 20))  # one with holes would fill the memory
        return found.hexdigest()


def deep(folder: Path) -> Iterator[Path]:
    """All that lies below a folder, links not followed; `rglob` calls itself, and gives up at a thousand levels."""
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))


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
        ["export", str(there), "--to", "csv"],
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
    with tempfile.TemporaryDirectory() as temporary:
        whole = planted(Ground(Path(temporary) / "whole").prepared())
        for number in numbers:
            random = Random(f"{seed}/{number}")
            ground = Ground(Path(temporary) / str(number)).prepared()
            shutil.copytree(whole, ground.results)
            shutil.copytree(whole.parent / "outside", ground.outside, dirs_exist_ok=True)
            made = mutate(random, ground.results, ground.outside)
            before = ground.touched()
            with ground.entered():
                for words in commands(random, whole, ground.results):
                    _judge(f"folder {number} ({', '.join(made)})", words, findings)
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if peak > BYTES >= findings.here:
        findings.wrong.append(f"{about}: {' '.join(words)}: {peak} bytes of memory, from {findings.here}")
    findings.here = max(findings.here, peak)


def run_at_random(seed: int, numbers: Sequence[int], findings: Findings) -> None:
    """Each number is one mutated folder in which a real `clipbench run` goes on; what it makes has the right bits."""
    with tempfile.TemporaryDirectory() as temporary:
        whole = Ground(Path(temporary) / "whole", LONGER).prepared()
        _require(_process(whole.root, RUN).code == 0, "a run that nobody disturbs")
        right = _weights(whole.results)
        _lay_outside(store.read_all(whole.results)[0][0].run, whole)
        begun = Ground(Path(temporary) / "begun", LONGER).prepared()
        interrupted = [_interrupted(begun, arm, seed) for arm, seed in (("sgd", 0), ("clipped", 1))]
        for number in numbers:
            random = Random(f"{seed}/{number}")
            ground = Ground(Path(temporary) / str(number), LONGER).prepared()
            shutil.copytree(whole.results, ground.results)
            shutil.copytree(whole.outside, ground.outside, dirs_exist_ok=True)
            laid: list[Begun] = []
            match random.choice(("ended", "begun", "begun", "without a checkpoint")):
                case "begun":
                    laid = [each.laid(begun, ground) for each in random.sample(interrupted, random.choice((1, 2)))]
                case "without a checkpoint":
                    _unfinished(random, ground.results)
            made = mutate(random, ground.results, ground.outside)
            if laid and random.random() < 0.5:
                made += mutate(random, random.choice(laid).folder, ground.outside)
            _judge_run(f"run {number} ({', '.join(made)})", ground, laid, right, findings, trusted=STATE not in made)
            subprocess.run(["rm", "-rf", str(ground.root)], check=True)


def _judge_run(
    about: str, ground: Ground, laid: "Sequence[Begun]", right: dict[str, str], findings: Findings, *, trusted: bool
) -> None:
    """Let a run go on; its bits are those of `right`, unless a checkpoint is a whole one of somebody else's."""
    before, untouched = ground.touched(), [each for each in laid if each.is_as_it_was()]
    done = _process(ground.root, RUN)
    findings.codes["run", done.code] += 1
    findings.slowest, findings.largest = max(findings.slowest, done.seconds), max(findings.largest, done.bytes)
    findings.outlived = max(findings.outlived, done.outlived or 0.0)
    findings.with_checkpoints += bool(laid)
    findings.went_on += any(each.went_on() for each in laid)
    weights = _weights(ground.results) if done.code == 0 else right
    faults = {
        f"exit code {done.code}": done.code not in CODES - {1},
        "a traceback": "Traceback" in done.said,
        f"{done.seconds:.1f} s": done.seconds > SECONDS,
        f"{done.bytes} bytes of memory": done.bytes > BYTES,
        "a process had to be killed": done.outlived is None,
        "something outside was touched": ground.touched() != before,
        "a run is missing": not weights.keys() >= right.keys(),
        "other bits": trusted and not weights.items() >= right.items(),
        "a checkpoint was not used": done.code == 0 and not all(each.went_on() for each in untouched),
    }
    findings.wrong += [f"{about}: {fault}\n{done.said[-3000:]}" for fault, is_so in faults.items() if is_so]


@dataclass(frozen=True)
class Begun:
    """The folder of a run that was interrupted while it trained, how it is, and what its first step took."""

    folder: Path
    content: str
    first_step_seconds: float

    def laid(self, begun: Ground, ground: Ground) -> "Begun":
        """The same in the results of another ground."""
        folder = ground.results / self.folder.relative_to(begun.results)
        shutil.rmtree(folder)
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)

    def is_as_it_was(self) -> bool:
        try:
            return self.folder.resolve() == self.folder.absolute() and _content(self.folder) == self.content
        except (RecursionError, OSError):  # nested deeper than Python looks
            return False

    def went_on(self) -> bool:
        """Whether the run that lies there has the first step of before it was interrupted: no two take equally long."""
        try:
            outcome = store.read_outcome(self.folder)
        except StoreError:
            return False
        return outcome is not None and outcome.first_step_seconds == self.first_step_seconds


def _content(folder: Path) -> str:
    """The names of a folder's files and what is in them, hashed."""
    found = hashlib.sha256()
    for path in sorted(deep(folder)):
        is_file = path.is_file() and not path.is_symlink()
        found.update(f"{path.name} {is_file}".encode(errors="surrogateescape"))
        if is_file:
            found.update(path.read_bytes())
    return found.hexdigest()


def _interrupted(begun: Ground, arm: str, seed: int) -> Begun:
    """A run that gets SIGTERM while it trains, and keeps a checkpoint."""
    for _ in range(10):  # it may have ended before
        with subprocess.Popen(
            [sys.executable, "-m", "clipbench", *RUN, "--filter", arm, "--seeds", str(seed)],
            cwd=begun.root,
            env=_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while not (beats := [*begun.results.rglob(f"{arm}/{seed}-*/{store.HEARTBEAT}")]) and process.poll() is None:
                time.sleep(0.005)
            time.sleep(0.1)
            process.terminate()
        if beats and (beats[0].parent / store.CHECKPOINT).exists():
            return Begun(beats[0].parent, _content(beats[0].parent), _first_step_seconds(beats[0].parent))
        shutil.rmtree(begun.results, ignore_errors=True)
    raise AssertionError("the run could not be interrupted while it trained")


def _first_step_seconds(folder: Path) -> float:
    """What the first step took, by the checkpoint."""
    code = "import sys, torch; print(torch.load(sys.argv[1])['content']['state']['step_seconds'][0])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / store.CHECKPOINT)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _require(right: bool, what: str) -> None:
    if not right:
        raise AssertionError(f"{what} does not end as it should")


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


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it and all that it has started took together."""

    code: int
    seconds: float
    bytes: int
    outlived: float | None  # seconds until its last process was gone, too; None where that had to be killed
    said: str


def _process(here: Path, words: Sequence[str]) -> Done:
    """One command in processes of its own."""
    used = here / "used.json"
    reaped = [sys.executable, str(Path(__file__).with_name("reaped.py")), str(used), str(PATIENCE)]
    command = [sys.executable, "-m", "clipbench", *words]
    done = subprocess.run([*reaped, *command], cwd=here, env=_environment(), capture_output=True, check=True)
    return Done(**json.loads(used.read_text()), said=(done.stdout + done.stderr).decode(errors="replace"))


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folders", type=int, default=1500)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the number of the first folder")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    findings = Findings()
    faulthandler.register(signal.SIGUSR1)
    try:
        read_at_random(options.seed, range(options.first, options.first + options.folders), findings)
        if options.runs:
            run_at_random(options.seed, range(options.first, options.first + options.runs), findings)
    finally:
        _print(findings, options)
    sys.exit(bool(findings.wrong))


def _print(findings: Findings, options: argparse.Namespace) -> None:
    for wrong in findings.wrong:
        print(wrong)  # noqa: T201
    counted = ", ".join(f"{name} {code}: {times}" for (name, code), times in sorted(findings.codes.items()))
    for line in (
        f"{options.folders} folders and {options.runs} runs: {len(findings.wrong)} faults; exit codes {counted}",
        f"{findings.with_checkpoints} of the runs found a checkpoint, and {findings.went_on} went on from it",
        f"slowest {findings.slowest:.1f} s of the processor; at the peak {findings.here / 1e6:.0f} MB in this process, "
        f"and {findings.largest / 1e6:.0f} MB in the largest of a run; the last of a run's processes was gone "
        f"{findings.outlived:.2f} s after it",
    ):
        print(line)  # noqa: T201


if __name__ == "__main__":
    main()
