"""Reading a file that somebody else may have laid there: an ordinary one, of a size that fits what it is."""

import os
import stat
from pathlib import Path


def read_ordinary(path: Path, *, most: int) -> bytes:
    """The content of an ordinary file of at most `most` bytes; a pipe would wait for ever, and a device has no end.

    Raises:
        OSError: it cannot be read, is not ordinary, or is larger; `strerror` says why.
    """
    # A pipe that nobody writes to would hold up the opening itself.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(None, "it is not an ordinary file")
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(None, f"it has more than {most:,} bytes")
    return content
