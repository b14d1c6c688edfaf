"""Versions of the same arms side by side, as a document."""

from clipbench.judging.comparison import Standing
from clipbench.judging.versions import VersionRow, Versions
from clipbench.judging.words import listing
from clipbench.report.arms import difference_cell, mark, mean_cell, signs
from clipbench.report.columns import arm_column, task_column
from clipbench.report.table import Bullets, Column, Document, DocumentPart, Paragraph, Table, text_column


def document(versions: Versions) -> Document:
    """The question, a row for each arm in each folder, and the caveats."""
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
            f"Verdict: {signs(better)}= identical or equivalent, ~ undecided; paired by seed, with Holm's correction "
            "for all rows of a folder and a task. Same weights: seeds whose final weights are equal bit for bit, of "
            "those that finished in both folders."
        ),
        columns=(
            text_column(
                "verdict",
                "verdict on the later folder against the first",
                _word,
                "",
                lambda row: (mark(_word(row), better)[0],),
            ),
            task_column(row.task for row in versions.rows),
            arm_column(),
            Column("folder", "label of the later folder", lambda row: row.label, "folder" if several else None),
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
                "mean paired difference, later minus first; of natural logarithms if --metric compares ratios",
                lambda row: row.against.mean,
                f"{name} {over} {first}",
                lambda row: difference_cell(row.against),
                (over, first),
                beside=(
                    Column("pairs", "number of pairs in the mean", lambda row: row.against.n),
                    Column("low", "lower end of the confidence interval at `level`", lambda row: row.judged.low),
                    Column("high", "upper end of the confidence interval at `level`", lambda row: row.judged.high),
                    Column("level", "significance level of the verdict", lambda row: row.judged.level),
                    Column("p_corrected", "p-value after Holm's correction", lambda row: row.judged.p),
                    Column(
                        "seeds_needed",
                        "seeds that would decide an undecided row; else nan",
                        lambda row: row.judged.seeds_needed,
                    ),
                ),
            ),
            Column(
                "same_weights",
                "number of seeds that end with the same weights in both folders",
                lambda row: row.same_weights,
                "same weights",
                lambda row: (f"{row.same_weights}/{row.pairs}",),
                beside=(
                    Column("both_finished", "number of seeds that finished in both folders", lambda row: row.pairs),
                ),
            ),
            text_column(
                "changed",
                "fields of the description that differ between the folders",
                lambda row: listing(row.changed, limit=12),
                "changed fields",
                wraps=True,
            ),
        ),
        rows=versions.rows,
        style=lambda row: mark(_word(row), better)[1],
    )


def _word(row: VersionRow) -> Standing:
    return row.judged.word
