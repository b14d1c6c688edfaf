"""Results from several folders brought together in one: copied, never moved, and nothing is overwritten."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from clipbench.errors import StoreError
from clipbench.questions import Question
from clipbench.records import Record
from clipbench.store.atomic import ELSEWHERE, make_folder
from clipbench.store.opening import content, refuse_links
from clipbench.store.results import folder_of, folder_of_spec, read_question, run_folders, write_question
from clipbench.store.runs import LOG, MEASUREMENTS, RUN, read

_SHOWN = 5  # conflicts that are named
# What of an outcome is the same each time a run is made, wherever it agrees bit for bit.
_FACTS = ("status", "reason", "steps", "samples", "tokens", "weights_sha256", "non_finite_step", "change")


@dataclass
class Merging:
    """What is to be copied (from where, by where to), and what was found on the way.

    `there` counts runs of which an equal copy is in place; `unfinished` ones are left where they are; `errors` has
    those that cannot be read.
    """

    copies: dict[Path, Path] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)
    there: int = 0
    unfinished: list[Path] = field(default_factory=list)
    errors: list[StoreError] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def merge(sources: Sequence[Path], out: Path) -> Merging:
    """Copy every ended run of `sources` to `out`, which may be there already, and may be one of them.

    Everything is looked at before anything is written, and copied beside `out` before anything is in it; then each
    run goes in by one rename, or all by one where `out` is new. Cut short, it is safe to do again.

    Raises:
        StoreError: a run is there twice with different content, two specs of one name ask for different things, or a
            folder cannot be read or written.
    """
    merging = Merging()
    for source in sources:
        if not source.is_dir():
            raise StoreError("there is no such folder", where=str(source), remedy="runs are made by `clipbench run`")
        asked: dict[Path, Question | None] = {}
        for folder in run_folders(source):
            _consider(folder, out, merging, asked)
    if merging.conflicts:
        raise _conflict(merging.conflicts)
    for spec, question in merging.questions.items():
        merging.questions[spec] = _one_question(read_question(folder_of_spec(spec, out)), question)
    if merging.copies:
        _copy(merging, out)
    return merging


def joined(first: Question, second: Question) -> Question | None:
    """One question for the runs of both: their plans together. None where they do not ask the same."""
    if replace(first, keys=(), command=()) != replace(second, keys=(), command=()):
        return None
    return replace(first, keys=tuple(dict.fromkeys((*first.keys, *second.keys))))


def _consider(folder: Path, out: Path, merging: Merging, asked: dict[Path, Question | None]) -> None:
    try:
        record = read(folder)
        if record.outcome is None:
            merging.unfinished.append(folder)
            return
        place = folder_of(record.run, out)
        earlier = merging.copies.get(place) or (place if os.path.lexists(place) else None)
        present = None if earlier is None else read(earlier)
    except StoreError as error:
        merging.errors.append(error)
        return
    _ask(folder.parents[2], merging, asked)
    if earlier is None:
        merging.copies[place] = folder
    elif present is not None and _same(record, present):
        merging.there += 1
    else:
        merging.conflicts.append(f"{folder} and {earlier}")


def _ask(of_spec: Path, merging: Merging, asked: dict[Path, Question | None]) -> None:
    """Join what the runs of a spec were to answer to what others of that name were, once for each folder."""
    if of_spec in asked:
        return
    try:
        asked[of_spec] = question = read_question(of_spec)
    except StoreError as error:
        asked[of_spec] = None
        merging.errors.append(error)
        return
    if question is not None:
        merging.questions[question.spec] = _one_question(merging.questions.get(question.spec), question)


def _same(first: Record, second: Record) -> bool:
    """Whether two runs are one, made once or twice: bit for bit but for the time they took."""
    is_one_run = first.key == second.key and first.run == replace(second.run, device=first.run.device)
    return is_one_run and _result(first) == _result(second)


def _result(record: Record) -> tuple[object, ...]:
    """What a run's numbers came to, without its times and its machine; as texts, for NaN is to equal NaN."""
    rows, ended = record.measurements, record.outcome
    facts = ended and tuple(getattr(ended, name) for name in _FACTS)
    return repr(facts), rows.layout, tuple(map(repr, rows.values))


def _one_question(present: Question | None, question: Question) -> Question:
    both = question if present is None else joined(present, question)
    if both is None:
        raise StoreError(
            f"nothing was merged: there are two specs called {question.spec}, which ask for different things",
            remedy="rename the folder of one of them, or merge them to different places with -o",
        )
    return both


def _conflict(conflicts: Sequence[str]) -> StoreError:
    more = [f"and {len(conflicts) - _SHOWN} more"] if len(conflicts) > _SHOWN else []
    shown = "; ".join([*conflicts[:_SHOWN], *more])
    return StoreError(
        f"nothing was merged: the same run differs between {shown}",
        remedy="they were made twice: keep one folder of each pair",
    )


def _copy(merging: Merging, out: Path) -> None:
    try:
        with _beside(out) as staging:
            for place, folder in merging.copies.items():
                _copy_run(folder, staging / place.relative_to(out))
            for question in merging.questions.values():
                write_question(question, staging)
            if not out.exists():
                staging.replace(out)
                return
            for place in merging.copies:
                refuse_links(place)
                make_folder(place.parent)
                (staging / place.relative_to(out)).rename(place)
            for question in merging.questions.values():
                write_question(question, out)
    except OSError as error:
        reason = f"cannot merge into this folder ({error.strerror or error})"
        raise StoreError(reason, where=str(out), remedy=ELSEWHERE) from error


def _copy_run(folder: Path, place: Path) -> None:
    """The files of an ended run, and nothing else that lies in its folder."""
    place.mkdir(parents=True)
    for name in (RUN, MEASUREMENTS, LOG):
        with suppress(FileNotFoundError):  # most runs have no log, and one that crashed may have no measurements
            (place / name).write_bytes(content(folder / name))


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder on the same disk as `out`, gone at the end whatever happens."""
    make_folder(out.parent)
    staging = out.parent / f".{out.name}.merging.{os.getpid()}"
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
