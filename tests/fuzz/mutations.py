"""What a stranger may have done to a folder of results: one change each, drawn at random."""

import importlib
import json
import math
import os
import pickle
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from clipbench import store

Mutation = Callable[[Random, Path, Path], None]  # with the results, and a folder outside that must stay as it is

ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2,
    0.5,
    1e308,
    -1e308,
    1e-308,
    float("nan"),
    float("inf"),
    -float("inf"),
    2**63,
    10**30,
    10**400,
    [],
    {},
    [[]],
    [1, "a"],
    {"a": {}},
    "",
    " ",
    "nan",
    "0",
    "x" * 10_000,
    "\u202eabc",
    "\x1b[31m",
    "\x00",
    "=1+1",
    "../../..",
    "a\nb",
    "canary:run",
    "cuda",
    "finished",
    "diverged",
    "failed",
    "own",
    "seconds",
    "Ω",
)
ODD_CELLS = (
    "",
    "0",
    "-1",
    "1e400",
    "-1e400",
    "nan",
    "inf",
    "1" + "0" * 400,
    "1" * 5000,
    "abc",
    '"',
    '"a',
    "1_0",
    " 4",
    "4.0",
    "own",
    "eval_loss",
    "\x00",
    "\r",
    "\x1b[2J",
    "x" * 200_000,
    "9223372036854775808",
    "1e-320",
    "directional_sharpness",
    "٣",
    "true",
    "[1",
    "-0",
)


def folders_of_runs(results: Path) -> list[Path]:
    return [path for path in store.run_folders(results) if not path.is_symlink()]


def below(results: Path) -> list[Path]:
    """All that lies not too deep below a folder, but for links."""
    levels = (results.glob("/".join("*" * depth)) for depth in range(1, 7))
    return sorted(path for level in levels for path in level if not path.is_symlink())


def _files(results: Path) -> list[Path]:
    return [path for path in below(results) if path.is_file()]


def _a_file(random: Random, results: Path) -> Path:
    files = [path for path in _files(results) if path.stat().st_size < 1 << 20]
    return random.choice(files)


def _bytes(path: Path) -> bytes:
    """The content of a small file; OSError for another, as for what cannot be read."""
    if path.stat().st_size > 1 << 20:
        raise OSError("it may have been given holes, which would fill the memory of this process")
    return path.read_bytes()


def _a_folder(random: Random, results: Path) -> Path:
    return random.choice([path for path in below(results) if path.is_dir()])


def flipped_bytes(random: Random, results: Path, __: Path) -> None:
    path = _a_file(random, results)
    content = bytearray(path.read_bytes())
    for _time in range(random.choice((1, 1, 3, 30))):
        if content:
            content[random.randrange(len(content))] = random.randrange(256)
    path.write_bytes(content)


def cut_short(random: Random, results: Path, __: Path) -> None:
    path = _a_file(random, results)
    content = path.read_bytes()
    path.write_bytes(content[: random.randrange(len(content) + 1)])


def garbage(random: Random, results: Path, __: Path) -> None:
    path = _a_file(random, results)
    path.write_bytes(
        random.choice(
            (b"", b"\xff\xfe", b"[" * 5000, b'{"a":' * 5000, b"null", b"[]", b"{}", b"1" * 5000, b"\n" * 1000)
        )
    )


def more_garbage(random: Random, results: Path, __: Path) -> None:
    with _a_file(random, results).open("ab") as file:
        file.write(random.choice((b"\x00" * 100, b"4,0.5", b"]", b",,,,\n" * 10, b"\xff\n")))


def with_holes(random: Random, results: Path, __: Path) -> None:
    os.truncate(_a_file(random, results), 1 << 30)


def _places(content: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if way:
        yield way
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, inner in items:
        yield from _places(inner, (*way, key))


def another_value(random: Random, results: Path, __: Path) -> None:
    path = random.choice([path for path in _files(results) if path.suffix == ".json"])
    with suppress(ValueError, RecursionError, OSError):
        if path.stat().st_size > 1 << 20:
            return
        content = json.loads(path.read_bytes())
        for _time in range(random.choice((1, 1, 2, 5))):
            ways = list(_places(content))
            if not ways:
                return
            *way, last = random.choice(ways)
            inner = content
            for key in way:
                inner = inner[key]
            match random.randrange(4):
                case 0:
                    del inner[last]
                case 1 if isinstance(inner, dict):
                    inner[random.choice(("unknown", "\ud800", "x" * 5000, ""))] = inner.pop(last)
                case _:
                    inner[last] = random.choice(ODD_VALUES)
        path.write_text(json.dumps(content))


def another_key(random: Random, results: Path, __: Path) -> None:
    """An edited description under the old key, with a digest that may be right."""
    folder = random.choice(folders_of_runs(results))
    with suppress(ValueError, RecursionError, OSError, KeyError, TypeError):
        content = json.loads(_bytes(folder / store.RUN))
        content["run"]["arm"]["optimizer"]["options"]["lr"] = 0.9
        content["run"]["arm"]["optimizer"]["target"] = "canary:run"
        content["run"]["task"]["target"] = "canary:run"
        if random.random() < 0.5:
            content["outcome"] = content["environment"] = None
            content["digest"] = ""
        (folder / store.RUN).write_text(json.dumps(content))


def another_cell(random: Random, results: Path, __: Path) -> None:
    path = random.choice(folders_of_runs(results)) / store.MEASUREMENTS
    with suppress(OSError):
        if path.stat().st_size > 1 << 20:
            return
        rows = [line.split(",") for line in path.read_text(errors="replace").splitlines()]
        for _time in range(random.choice((1, 2, 5))):
            row = random.choice(rows)
            row[random.randrange(len(row))] = random.choice(ODD_CELLS)
        path.write_text("\n".join(map(",".join, rows)) + "\n")


def other_rows(random: Random, results: Path, __: Path) -> None:
    path = random.choice(folders_of_runs(results)) / store.MEASUREMENTS
    with suppress(OSError):
        if path.stat().st_size > 1 << 20:
            return
        heading, *rows = path.read_text(errors="replace").splitlines() or [""]
        match random.randrange(5):
            case 0:
                rows = [row for row in rows if "eval_loss" not in row]
            case 1:
                rows = [row.replace(",own,", random.choice((",,", ",adam,", ",\x1b,", ",=1+1,"))) for row in rows]
            case 2:
                random.shuffle(rows)
            case 3:
                rows = random.choices(rows, k=len(rows)) if rows else rows
            case 4:
                rows = rows[: random.randrange(len(rows) + 1)]
        path.write_text("\n".join([heading, *rows]) + "\n")


def a_link(random: Random, results: Path, outside: Path) -> None:
    path = _a_file(random, results)
    names = (path.name, store.LOG, store.HEARTBEAT, store.CHECKPOINT, ".lock", store.QUESTION, f".{store.HEARTBEAT}")
    path = path.with_name(random.choice(names))
    with suppress(IsADirectoryError):
        path.unlink(missing_ok=True)
        target = random.choice((outside / "file.txt", outside / "nowhere", path, Path("/dev/zero"), outside / "run"))
        random.choice((path.symlink_to, path.symlink_to, _hard_link_of(path)))(target)


def _hard_link_of(path: Path) -> Callable[[Path], None]:
    def link(target: Path) -> None:
        with suppress(OSError):
            os.link(target, path, follow_symlinks=False)

    return link


def no_file(random: Random, results: Path, __: Path) -> None:
    path = _a_file(random, results)
    path = path.with_name(random.choice((path.name, store.LOG, store.HEARTBEAT, store.CHECKPOINT, ".lock")))
    with suppress(OSError):
        path.unlink(missing_ok=True)
        match random.randrange(5):
            case 0:
                path.mkdir()
            case 1 | 2:
                os.mkfifo(path)
            case 3:
                os.mknod(path, 0o020666, os.makedev(1, 5))  # /dev/zero, where this is allowed
            case 4:
                with socket.socket(socket.AF_UNIX) as end:
                    end.bind(str(path))


def a_linked_folder(random: Random, results: Path, outside: Path) -> None:
    path = _a_folder(random, results)
    target = random.choice((outside, outside / "run", path.parent, outside / "nowhere"))
    if random.random() < 0.5:
        path.rename(outside.parent / "moved")
        path.symlink_to(target)
    else:
        path.with_name(f"{path.name}-link").symlink_to(target)


def nested(random: Random, results: Path, __: Path) -> None:
    here = os.open(_a_folder(random, results), os.O_RDONLY)
    try:
        for _time in range(random.choice((30, 1000, 3000))):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)


def doubled(random: Random, results: Path, __: Path) -> None:
    path = _a_folder(random, results)
    name = random.choice(
        (f"{path.name}2", "a" * 200, "\udcff\udcfe", "a\nb", "\x1b[31m", "=1+1", "%2F", " ", f"{path.name}.set-aside-1")
    )
    with suppress(OSError, shutil.Error, RecursionError):
        shutil.copytree(path, path.with_name(name), symlinks=True)


def renamed(random: Random, results: Path, __: Path) -> None:
    path = _a_folder(random, results)
    with suppress(OSError):
        path.rename(path.with_name(random.choice((f"{path.name}2", "\udcff", "x", "0-abc", "::error::x"))))


def exchanged(random: Random, results: Path, __: Path) -> None:
    first, second = random.choice(folders_of_runs(results)), random.choice(folders_of_runs(results))
    name = random.choice((store.RUN, store.MEASUREMENTS))
    with suppress(OSError):
        one, other = _bytes(first / name), _bytes(second / name)
        (first / name).write_bytes(other)
        (second / name).write_bytes(one)


def a_heartbeat(random: Random, results: Path, __: Path) -> None:
    texts = ("[]", "[" * 5000, '{"progress": "a"}', '{"progress": 1e999, "step": 1, "loss": null}', "null", "1", "\xff")
    with suppress(OSError):
        (random.choice(folders_of_runs(results)) / store.HEARTBEAT).write_text(random.choice(texts))


def another_state(random: Random, results: Path, __: Path) -> None:
    """A checkpoint that torch reads, with values, types and shapes of somebody else's."""
    import torch  # a fuzzer of the commands that read has none

    paths = [path for path in _files(results) if path.name == store.CHECKPOINT and path.stat().st_size < 1 << 20]
    path = random.choice(paths)
    values = (*ODD_VALUES, torch.zeros(3), torch.full((8, 1), math.nan), torch.zeros(1).expand(1 << 40), torch.ones(()))
    content: Any = None
    with suppress(Exception):  # it may be damaged already
        content = torch.load(path, weights_only=True)
    for _time in range(random.choice((1, 1, 3))):
        *way, last = random.choice(list(_places(content)))
        inner = content
        for key in way:
            inner = inner[key]
        with suppress(TypeError):  # a tuple
            if random.random() < 0.3:
                del inner[last]
            else:
                inner[last] = random.choice(values)
    torch.save(content, path)


def a_poisoned_checkpoint(random: Random, results: Path, __: Path) -> None:
    """Who unpickles it imports the canary, whether it is taken for a pickle or for an archive of torch."""
    path = random.choice(folders_of_runs(results)) / store.CHECKPOINT
    poison = pickle.dumps(_Poison(), protocol=2)
    with suppress(OSError):
        if random.random() < 0.5:
            path.write_bytes(poison)
            return
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("checkpoint/data.pkl", poison)
            archive.writestr("checkpoint/version", "3\n")


class _Poison:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return importlib.import_module, ("canary",)


def forbidden(random: Random, results: Path, __: Path) -> None:
    random.choice((_a_file, _a_folder))(random, results).chmod(0)


def gone(random: Random, results: Path, __: Path) -> None:
    path = random.choice((_a_file, _a_folder))(random, results)
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


MUTATIONS: tuple[Mutation, ...] = (
    flipped_bytes,
    cut_short,
    garbage,
    more_garbage,
    with_holes,
    another_value,
    another_value,
    another_value,
    another_key,
    another_cell,
    another_cell,
    other_rows,
    a_link,
    no_file,
    a_linked_folder,
    nested,
    doubled,
    renamed,
    exchanged,
    a_heartbeat,
    another_state,
    a_poisoned_checkpoint,
    forbidden,
    gone,
)


def mutate(random: Random, results: Path, outside: Path) -> list[str]:
    """Up to four changes; the names of those that were made."""
    made = []
    for _ in range(random.choice((1, 1, 2, 4))):
        mutation = random.choice(MUTATIONS)
        # Nothing is left to change, or it is changed already; or it is nested deeper than Python removes.
        with suppress(IndexError, OSError, RecursionError):
            mutation(random, results, outside)
            made.append(mutation.__name__)
    return made
