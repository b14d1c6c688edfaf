"""Recorded curves as event files of TensorBoard, written by TensorBoard's own library: one folder a run."""

from collections.abc import Callable
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from clipbench import store
from clipbench.errors import ClipbenchError
from clipbench.harmless import on_one_line
from clipbench.measurements import Measurement
from clipbench.records import Record

EVENTS = "events.out.tfevents.0.clipbench"  # TensorBoard reads files with "tfevents" in their names

Write = Callable[[Record, Path], None]


def writer() -> Write:
    """What writes a run's curves below a folder. Imports the library, but neither torch nor TensorFlow.

    - folder: spec/task/arm/seed-key, so that TensorBoard shows these names
    - tag: `task/quantity`, or `task/quantity@direction`
    - wall time: seconds of training, not a date, so that TensorBoard's relative time is training time
    - value: float32, as TensorBoard keeps scalars

    Raises:
        ClipbenchError: the library is not installed.
    """
    try:
        record_writer: Any = import_module("tensorboard.summary.writer.record_writer")
        events: Any = import_module("tensorboard.compat.proto.event_pb2")
    except ImportError as error:
        raise ClipbenchError(
            f"TensorBoard's library cannot be imported ({error})", remedy="pip install tensorboard"
        ) from error

    def write(record: Record, top: Path) -> None:
        folder = store.folder_of(record.run, top)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / EVENTS).open("xb") as file:
            _write(record, record_writer.RecordWriter(file), events.Event)

    return write


def _write(record: Record, events: Any, event: Any) -> None:
    events.write(event(file_version="brain.Event:2").SerializeToString())
    task = record.run.task.name
    for (step, seconds), group in groupby(record.measurements, key=lambda row: (row.step, row.seconds)):
        point = event(step=step, wall_time=seconds)
        for row in group:
            point.summary.value.add(tag=tag(task, row), simple_value=row.value)
        events.write(point.SerializeToString())


def tag(task: str, row: Measurement) -> str:
    """What TensorBoard calls a curve."""
    direction = f"@{row.direction}" if row.direction else ""
    return on_one_line(f"{task}/{row.quantity}{direction}")
