"""The data that tasks find on the user's own disk, as bytes and as the fingerprint a run is known by.

Nothing is downloaded, and nothing here needs torch or imports the packages whose data it reads: a plan is
made with the fingerprint before anything heavy is loaded.
"""

import hashlib
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clipbench.errors import ClipbenchError

# Prose-like, hand-written modules that Python 3.11 to 3.14 have as single files; tables of data are left out.
STDLIB_FILES = (
    "argparse.py",
    "ast.py",
    "calendar.py",
    "codecs.py",
    "collections/__init__.py",
    "configparser.py",
    "contextlib.py",
    "csv.py",
    "difflib.py",
    "fractions.py",
    "ftplib.py",
    "functools.py",
    "gettext.py",
    "heapq.py",
    "imaplib.py",
    "inspect.py",
    "mailbox.py",
    "os.py",
    "pickle.py",
    "platform.py",
    "plistlib.py",
    "random.py",
    "shutil.py",
    "smtplib.py",
    "socket.py",
    "statistics.py",
    "subprocess.py",
    "tempfile.py",
    "textwrap.py",
    "threading.py",
    "traceback.py",
    "unittest/case.py",
    "uuid.py",
    "weakref.py",
)


@dataclass(frozen=True)
class Source:
    """Data on the user's disk: `fingerprint()` is the hex SHA-256 of what decides it.

    It raises ClipbenchError where the data is not there.
    """

    fingerprint: Callable[[], str]


def missing_package(package: str) -> ClipbenchError:
    """The error for a task whose package is not installed: which one it is, and how to get it."""
    return ClipbenchError(
        f"this task needs the package {package!r}, which is not installed",
        remedy="pip install 'clipbench[tasks]'",
    )


def python_stdlib() -> bytes:
    """The text of the Python standard library's modules named in STDLIB_FILES, one after the other.

    About 1.6 MB of UTF-8; it changes with the Python version, and a file that a version lacks is left out.

    Raises:
        ClipbenchError: none of the files is there (a Python without its library's source).
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = (root / name for name in STDLIB_FILES)
    text = b"".join(file.read_bytes() for file in files if file.is_file())
    if not text:
        raise ClipbenchError(
            "no source file of Python's standard library was found",
            where=str(root),
            remedy="use a Python that ships its library as .py files",
        )
    return text


def sklearn_digits() -> bytes:
    """The handwritten digits that come with scikit-learn: its gzipped CSV file, as it lies on the disk.

    Each of the 1797 lines holds 64 pixels of 0 to 16 (8 × 8, row by row) and the digit.

    Raises:
        ClipbenchError: scikit-learn is not installed, or has no such file.
    """
    found = PathFinder.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise missing_package("scikit-learn")
    file = Path(found.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    if not file.is_file():
        raise ClipbenchError(
            "scikit-learn is installed, but without its digits",
            where=str(file),
            remedy="pip install --force-reinstall 'clipbench[tasks]'",
        )
    return file.read_bytes()


def num2words_version() -> str:
    """The installed version of num2words, which decides the words that it makes of a number.

    Raises:
        ClipbenchError: num2words is not installed.
    """
    try:
        return version("num2words")
    except PackageNotFoundError as error:
        raise missing_package("num2words") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


SOURCES: Mapping[str, Source] = {
    "python_stdlib": Source(lambda: _sha256(python_stdlib())),
    "sklearn_digits": Source(lambda: _sha256(sklearn_digits())),
    "num2words": Source(lambda: _sha256(f"num2words=={num2words_version()}".encode())),
}
