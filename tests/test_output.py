"""All output goes through one place, where nothing in it can act."""

import re
from pathlib import Path

import clipbench

PACKAGE = Path(clipbench.__file__).parent

# What writes to a stream or makes Rich's text, and the files that may: the processes of a run write to its log.
OF_A_RUN = {"running/worker.py", "running/helpers.py", "running/rank.py"}
WAYS = {
    r"\bprint\(": {"console.py", "report/progress.py", "geometry/step.py", *OF_A_RUN},
    r"\becho\(": set[str](),
    r"\bsys\.(stdout|stderr)\.write\(": {"console.py", "running/signatures.py"},
    r"\bConsole\(": {"console.py", "cli/campaign.py"},
    r"(?<![\w.])Text\(": {"console.py", "report/text.py"},
    r"(?<!_)from_markup\(|\brich\.print\b|\bmarkup=True": set[str](),
    r"\bcsv\.(Dict)?[wW]riter\(": {"export/curves.py", "report/raw.py", "store/live.py"},
}


def test_no_file_writes_past_the_place_for_output() -> None:
    texts = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}
    for way, allowed in WAYS.items():
        using = {name for name, text in texts.items() if re.search(way, text)}
        assert using <= allowed, f"{way}: {using - allowed}"


def test_progress_prints_only_text_that_was_made_harmless() -> None:
    printed = re.findall(r"\.print\((.*)", (PACKAGE / "report/progress.py").read_text())
    assert printed
    assert all(line.startswith("text_of(") for line in printed)
