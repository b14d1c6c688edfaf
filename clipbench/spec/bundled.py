"""The specs and claims that come with clipbench, by name: `clipbench run quickstart`.

An installed package holds them (setup.py); in a clone they are the folder `benchmarks` beside it.
"""

from pathlib import Path

import clipbench
from clipbench.spec.wording import nearest

_PACKAGE = Path(clipbench.__file__).parent
_FOLDERS = (_PACKAGE / "benchmarks", _PACKAGE.parent / "benchmarks")


def names() -> dict[str, Path]:
    """The file of each name: `quickstart` stands for `benchmarks/quickstart.yaml`."""
    folder = next((each for each in _FOLDERS if (each / "quickstart.yaml").is_file()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.rglob("*.yaml"))}


def located(path: Path) -> Path:
    """The file that a word of the command line means: the file of that name if there is one, else clipbench's own."""
    known = names()
    return known[str(path)] if str(path) in known and not path.is_file() else path


def absent(path: Path) -> str:
    """That there is no such file, and the name that may have been meant."""
    known = names()
    if path.stem in known:
        return f"no such file; the one that comes with clipbench is called {path.stem!r}, without a folder and .yaml"
    if path.suffix or len(path.parts) > 1:
        return "no such file"
    return f"no such file, nor does one of this name come with clipbench; {nearest(path.name, known)}"
