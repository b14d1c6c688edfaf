"""What is in files and folders of the user's, as lines to make a fingerprint of."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from clipbench.errors import ClipbenchError


def contents(path: Path) -> Iterator[str]:
    """A line for each file: its path from `path`, and its SHA-256. Hidden files are left out.

    Raises:
        ClipbenchError: there is nothing at the path.
    """
    if not path.exists():
        raise ClipbenchError(
            f"there are no data at {path}", remedy="mend `data`; a path counts from the current folder"
        )
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        inside = file.relative_to(path)
        if not any(part.startswith(".") for part in inside.parts):
            with file.open("rb") as content:
                yield f"{inside.as_posix()} {hashlib.file_digest(content, 'sha256').hexdigest()}"
