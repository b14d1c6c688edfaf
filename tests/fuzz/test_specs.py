"""Mutated specs through `validate` and `plan`: an answer for each, whatever it is.

Few here; CLIPBENCH_FUZZ=1500 asks for as many, and CLIPBENCH_FUZZ_SEED for others.
"""

import io
import os
import resource
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from random import Random

import pytest
from fuzz.mutated_specs import mutated

from clipbench import cli
from clipbench.errors import SpecError
from clipbench.spec.claims import load

pytestmark = pytest.mark.slow  # random faults in specs

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TEXTS = [path.read_text() for path in sorted(BENCHMARKS.glob("*.yaml"))]
CLAIMS = [path.read_text() for path in sorted(BENCHMARKS.glob("claims/*.yaml"))]
COUNT, SEED = int(os.environ.get("CLIPBENCH_FUZZ", "80")), int(os.environ.get("CLIPBENCH_FUZZ_SEED", "0"))
MOST_SECONDS, MOST_MEGABYTES, MOST_CHARACTERS = 10, 1000, 60_000


def answer(*words: str) -> tuple[object, str]:
    """The exit code of a command, and all that it wrote."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["clipbench", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code, said.getvalue()


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("part", range(4))
def test_every_spec_has_an_answer_in_printable_text_soon(
    tmp_path: Path, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = megabytes()
    codes = []
    for number in range(part, COUNT, 4):
        rng = Random(f"{SEED}/{number}")
        Path("x.yaml").write_bytes(mutated(rng.choice(TEXTS), rng))
        for command in ("validate", "plan"):
            begin = time.process_time()
            code, said = answer(command, "x.yaml")
            told = f"{command} of spec {number} of seed {SEED}: {said[:1000]!r}"
            assert code in (0, 2), told
            assert time.process_time() - begin < MOST_SECONDS, told
            assert all(character.isprintable() or character == "\n" for character in said), told
            assert not any(line.lstrip().startswith("::") or "##[" in line for line in said.split("\n")), told
            assert len(said) < MOST_CHARACTERS or code == 0, told
            codes.append(code)
    assert megabytes() - before < MOST_MEGABYTES
    assert 2 in codes


def test_every_file_of_claims_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    for number in range(COUNT // 8):
        rng = Random(f"{SEED}/claims/{number}")
        path.write_bytes(mutated(rng.choice(CLAIMS), rng))
        with suppress(SpecError):
            assert load(path)
