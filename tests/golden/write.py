"""Write golden.json anew: every number of every case, as this machine makes them.

    python tests/golden/write.py

It refuses to overwrite numbers that moved while METHOD did not. A case that was meant to change is a new case: give it
another name, or delete the file first.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from golden.cases import CASES
from golden.runs import FILE, Golden, data_of, fingerprint, make, moved, numbers, read, verdict, write

from clipbench.records import METHOD, Record


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        records = {name: make(run, Path(scratch, str(i))) for i, (name, run) in enumerate(CASES.items())}
    golden = _golden(records)
    if FILE.exists() and (kept := read()).method == METHOD:
        exactly = kept.numerics_id == golden.numerics_id
        for name in kept.cases.keys() & golden.cases.keys():
            if differences := list(moved(kept.cases[name], golden.cases[name], exactly=exactly)):
                raise SystemExit(verdict(name, differences, kept))
    write(golden)
    sys.stdout.write(f"{len(golden.cases)} cases in {FILE}\n")


def _golden(records: dict[str, Record]) -> Golden:
    [environment, *_] = [record.environment for record in records.values() if record.environment]
    sources = sorted({data for run in CASES.values() if (data := data_of(run))})
    return Golden(
        method=METHOD,
        numerics_id=environment.numerics_id,
        numerics=environment.numerics,
        data={data: fingerprint(data) for data in sources},
        cases={name: numbers(record) for name, record in records.items()},
    )


if __name__ == "__main__":
    main()
