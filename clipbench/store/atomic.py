"""Files that are written whole or not at all, and folders that can be written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipbench.errors import StoreError
from clipbench.store.opening import created

ELSEWHERE = "choose another results folder with -o, or make this one writable"


def make_folder(folder: Path) -> None:
    """Make a folder and those it lies in, unless they are there.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make this folder ({error.strerror})",
            where=str(folder),
            remedy=ELSEWHERE,
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all: fill the path given, and it takes the place of `path` at the end."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        os.close(created(draft))
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def replace_content(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, with a line end behind its content.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        with replacing(path) as draft:
            draft.write_bytes(content + b"\n")
    except OSError as error:
        raise StoreError(f"cannot write this file ({error.strerror})", where=str(path)) from error


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk; Windows opens no folder, and writes them by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
