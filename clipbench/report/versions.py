"""Versions of the same arms side by side, as a document."""

from clipbench.judging.comparison import Standing
from clipbench.judging.versions import VersionRow, Versions
from clipbench.judging.words import listing
from clipbench.report.arms import difference_cell, mark, mean_cell, signs
from clipbench.report.columns import arm_column, task_column
from clipbench.report.table import Bullets, Column, Document, DocumentPart, Paragraph, Table, text_column


def document(versions: Versions) -> Document:
    """The question, a row for each arm in each folder, and what to know of them."""
    table = _table(versions)
    parts: list[DocumentPart] = [Paragraph(versions.question, style="bold", captioned=True), table]
    if versions.notes:
        parts.append(Bullets(versions.notes, title="Caveats"))
    return Document(parts, lines=table, data=lambda: {"rows": table.records(), "caveats": versions.notes})


def _table(versions: Versions) -> Table[VersionRow]:
    first, *others = versions.labels
    metric, better = versions.metric, versions.metric.quantity.better
    name, over = str(metric).replace("_", " "), "over" if metric.quantity.scale == "log" else "minus"
    several = len(others) > 1
    return Table(
        name="versions",
        title=f"{versions.spec}: {name} in {listing(others)} against {first}",
        note=(
            f"{signs(better)}~ undecided, = identical or within what matters; paired by seed, and corrected (Holm) "
            "for all rows of a folder and a task. Same weights: on how many of the seeds that both finished the final "
            "weights are equal bit for bit."
        ),
        columns=(
            text_column(
                "verdict",
                "of the later folder against the first",
                _word,
                "",
                lambda row: (mark(_word(row), better)[0],),
            ),
            task_column(row.task for row in versions.rows),
            arm_column(),
            Column("folder", "where the later runs are", lambda row: row.label, "folder" if several else None),
            Column("before", f"mean in {first}", lambda row: row.before.mean, first, lambda row: mean_cell(row.before)),
            Column(
                "after",
                "mean in the later folder",
                lambda row: row.after.mean,
                "after" if several else others[0],
                lambda row: mean_cell(row.after),
            ),
            Column(
                "difference",
                "mean over pairs of later minus first; of natural logarithms where it is a ratio",
                lambda row: row.against.mean,
                f"{name} {over} {first}",
                lambda row: difference_cell(row.against),
                (over, first),
                beside=(
                    Column("pairs", "how many pairs it is over", lambda row: row.against.n),
                    Column("low", "lower end of the interval at its level", lambda row: row.judged.low),
                    Column("high", "upper end", lambda row: row.judged.high),
                    Column("level", "at which it was judged", lambda row: row.judged.level),
                    Column("p_corrected", "its p-value after Holm's correction", lambda row: row.judged.p),
                    Column("seeds_needed", "seeds that would decide it; else nan", lambda row: row.judged.seeds_needed),
                ),
            ),
            Column(
                "same_weights",
                "seeds that end with the same weights in both",
                lambda row: row.same_weights,
                "same weights",
                lambda row: (f"{row.same_weights}/{row.pairs}",),
                beside=(Column("both_finished", "of how many that both finished", lambda row: row.pairs),),
            ),
            text_column(
                "changed",
                "what the runs say otherwise of how they were made",
                lambda row: listing(row.changed, limit=12),
                "described otherwise",
                wraps=True,
            ),
        ),
        rows=versions.rows,
        style=lambda row: mark(_word(row), better)[1],
    )


def _word(row: VersionRow) -> Standing:
    return row.judged.word
