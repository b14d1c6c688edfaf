"""The pictures as files for a paper: SVG, PNG and PDF at the width of a column."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from clipbench.errors import ClipbenchError
from clipbench.report.page.page import needed
from clipbench.report.page.vega import ChartSpec, Figure
from clipbench.store.atomic import make_folder, replacing

WIDTH = 240  # points: a column of a paper in two columns
_DOTS = 300  # an inch, of the PNG
PAPER: ChartSpec = {
    "background": "white",
    "font": "Helvetica, Arial, Liberation Sans, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 7,
        "titleFontSize": 8,
        "titleFontWeight": "normal",
        "gridColor": "#e4e4e4",
        "labelLimit": 90,
        "labelOverlap": True,
    },
    "legend": {
        "orient": "bottom",
        "columns": 3,
        "labelFontSize": 7,
        "titleFontSize": 7,
        "symbolSize": 40,
        "symbolStrokeWidth": 0,
        "labelLimit": 70,
    },
}


def write(folder: Path, by_task: Mapping[str, Sequence[Figure]]) -> list[Path]:
    """Write every picture of every task; several tasks have a folder each.

    Raises:
        ClipbenchError: the package that draws is not installed, or a file cannot be written.
    """
    draws = needed("vl_convert")
    written = []
    for place, (task, figures) in enumerate(by_task.items()):
        into = folder / _file_name(task, place) if len(by_task) > 1 else folder
        make_folder(into)
        for figure in figures:
            svg = as_svg(figure)
            for suffix, content in (
                ("svg", svg.encode()),
                ("png", draws.svg_to_png(svg, ppi=_DOTS)),
                ("pdf", draws.svg_to_pdf(svg)),
            ):
                path = into / f"{_file_name(figure.name, 0)}.{suffix}"
                try:
                    with replacing(path) as draft:
                        draft.write_bytes(content)
                except OSError as error:
                    raise ClipbenchError(
                        f"cannot write this file ({error.strerror})",
                        where=str(path),
                        remedy="give --pictures another DIR",
                    ) from error
                written.append(path)
    return written


def as_svg(figure: Figure, width: int = WIDTH) -> str:
    """A picture as SVG, `width` points wide.

    Raises:
        ClipbenchError: the package that draws is not installed.
    """
    svg: str = needed("vl_convert").vegalite_to_svg({**figure.whole(), "width": width}, config=PAPER)
    return svg


def _file_name(name: str, place: int) -> str:
    """A name of a file that no system reads as anything else."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")[:60] or f"task_{place}"
