"""`python tests/report/write_screens.py` writes the exact screens of the reference runs anew: screens/*.txt."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from report.test_screen import SCREENS, WIDTHS, of_the_reference

if __name__ == "__main__":
    for name, columns in WIDTHS.items():
        (SCREENS / f"{name}.txt").write_text(of_the_reference(columns), encoding="utf-8")
