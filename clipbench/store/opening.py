"""The only place that opens files of a results folder: ordinary files, through no link, and none without end.

A results folder is data from a stranger. A link in it may lead anywhere, a pipe would be waited for, and a device or a
file with holes fills the memory. The folder of all results, which the user names, may be a link: that is their choice.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from clipbench import files
from clipbench.errors import StoreError

MOST = 128 << 20  # bytes of measurements: some two million of them
MOST_JSON = 4 << 20  # bytes of a description, which has a few thousand

_SET_ASIDE = re.compile(r"-?\d+-[0-9a-f]+\.set-aside-\d+")


def opened(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """The descriptor of an ordinary file. A file that is opened for writing may have no second name.

    Raises:
        OSError: there is no such file, it cannot be opened, or it is no ordinary file.
    """
    return _opened(path, flags)[0]


def content(path: Path | str, most: int = MOST) -> bytes:
    """All bytes of an ordinary file.

    Raises:
        OSError: as `opened` does, or the file has more bytes than `most`.
    """
    descriptor, status = _opened(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, and {most} are the most")
        return file.read(status.st_size)


def locked(descriptor: int) -> bool:
    """Lock a file, until it is closed or this process dies, however it dies; False where somebody else has.

    Where the file system keeps no locks, as Lustre may not, nobody is kept out.
    """
    import fcntl  # here: Windows lacks it, and reads runs without making any

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True


@contextmanager
def reading(path: Path | str) -> Iterator[BinaryIO]:
    """An ordinary file, open for reading; errors as of `opened`."""
    with os.fdopen(opened(path), "rb") as file:
        yield file


def end_of(path: Path | str, most: int) -> bytes:
    """The last bytes of an ordinary file, `most` of them at most; errors as of `opened`."""
    with reading(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most))
        return file.read(most)


def created(path: Path) -> int:
    """The descriptor of a new file in place of whatever has this name.

    Raises:
        OSError: the file cannot be made, or a folder has its name.
    """
    path.unlink(missing_ok=True)
    return files.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | files.NO_LINK)


def oddity(path: Path) -> str:
    """Why a file is not to be written, as in "it is a link"; empty where it is ordinary, or where there is none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return _odd(path.lstat(), writing=True)
    return ""


def refuse_links(folder: Path) -> None:
    """Raises StoreError where the folder of a run, or of its arm, task or spec, is there and is no folder."""
    for part in (*reversed(folder.parents[:3]), folder):
        refuse_a_link(part)


def refuse_a_link(folder: Path) -> None:
    """Raises StoreError where a link, or anything else, is in a folder's place."""
    with suppress(OSError):
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            reason = _odd(status, writing=False) or "it is a file"
            remedy = "nothing is written there: move it away, or choose another results folder with -o"
            raise StoreError(f"this is no folder ({reason})", where=str(folder), remedy=remedy)


def is_set_aside(name: str) -> bool:
    """Whether a folder's name says that what is in it was set aside, and is no result."""
    return _SET_ASIDE.fullmatch(name) is not None


def _opened(path: Path | str, flags: int) -> tuple[int, os.stat_result]:
    try:
        if not files.NO_LINK and Path(path).is_symlink():
            raise OSError(errno.ELOOP, "it is a link")
        descriptor = files.opened(path, flags | files.NO_LINK)
    except OSError as error:
        if odd := oddity(Path(path)):
            raise OSError(error.errno, odd) from None
        raise
    status = os.fstat(descriptor)
    if reason := _odd(status, writing=flags & os.O_ACCMODE != os.O_RDONLY):
        os.close(descriptor)
        raise OSError(errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL, reason)
    return descriptor, status


_KINDS = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFLNK: "it is a link",
    stat.S_IFIFO: "it is a pipe",
    stat.S_IFSOCK: "it is a socket",
}


def _odd(status: os.stat_result, *, writing: bool) -> str:
    if not stat.S_ISREG(status.st_mode):
        return _KINDS.get(stat.S_IFMT(status.st_mode), "it is a device")
    return "it has a second name, a hard link" if writing and status.st_nlink > 1 else ""
