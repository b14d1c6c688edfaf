"""Reading a file that somebody else may have laid there: an ordinary one, of a size that fits what it is."""

import os
import stat
from pathlib import Path

# Windows lacks the first two flags and the third is its own: without it, line ends change while they are read.
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_AS_IT_IS = getattr(os, "O_BINARY", 0)


def opened(path: Path | str, flags: int) -> int:
    """A descriptor of a file whose bytes are read and written as they are; opening a pipe waits for nobody."""
    return os.open(path, flags | NO_WAIT | _AS_IT_IS, 0o666)


def read_ordinary(path: Path, *, most: int) -> bytes:
    """The content of an ordinary file of at most `most` bytes; a pipe would wait for ever, and a device has no end.

    Raises:
        OSError: it cannot be read, is not ordinary, or is larger; `strerror` says why.
    """
    with os.fdopen(opened(path, os.O_RDONLY), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(None, "it is not an ordinary file")
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(None, f"it has more than {most:,} bytes")
    return content
