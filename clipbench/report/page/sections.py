"""The sections of tables below the pictures; a section is there only if it has something to say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clipbench.records import Record
from clipbench.report import audit, claims, listing
from clipbench.report.compare import all_columns, document
from clipbench.report.page.subject import Subject
from clipbench.report.table import AnyTable, Bullets, DocumentPart, Paragraph, Table, facts


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it; `folded`: shown after a click."""

    title: str
    parts: Sequence[DocumentPart]
    folded: bool = False


def main_tables(subject: Subject) -> list[AnyTable]:
    """The table of arms of each task, as `compare` shows it."""
    tables = [part for part in document(subject.comparison).parts if isinstance(part, Table)]
    return tables[: len(subject.comparison.tasks)]


def sections(subject: Subject) -> list[Section]:
    """All sections that have parts, in their order."""
    return [section for section in _sections(subject) if section.parts]


def _sections(subject: Subject) -> Iterator[Section]:
    parts = document(subject.comparison).parts
    tables = [part for part in parts if isinstance(part, Table)]
    lists = [part for part in parts if isinstance(part, Bullets)]
    yield Section("More comparisons", tables[len(subject.comparison.tasks) :])
    yield Section("Clipped arms and their twins", [each for each in lists if each.title != "Caveats"])
    if measured := [answer for answer in subject.answers if answer.verdict != "not measured"]:
        yield Section("Claims", claims.document(measured, each=False).parts)
    yield Section("Caveats", [Bullets(each.sentences) for each in lists if each.title == "Caveats"])
    yield Section("Findings of the audit", audit.document([subject.comparison.audit], explain=True).parts, folded=True)
    meanings = [*listing.quantities(subject.quantities.values()).parts, *listing.columns(all_columns()).parts]
    yield Section("What every number means", meanings, folded=True)
    yield Section("Environment", _environment(subject.records), folded=True)
    yield Section("Files", listing.runs(subject.records).parts, folded=True)


def _environment(records: Sequence[Record]) -> list[DocumentPart]:
    """Where the runs were made; a fact that differs between runs has all its values."""
    facts_of: dict[str, dict[str, None]] = {}
    for record in records:
        where = record.environment
        if where is None:
            continue
        plain = {
            "clipbench": where.clipbench,
            "Python": where.python,
            "torch": where.torch,
            "device": f"{where.device} ({where.device_name})",
            "threads": where.threads,
            "runs side by side": where.side_by_side,
        }
        for name, value in {**plain, **where.machine, **where.numerics}.items():
            facts_of.setdefault(str(name), {})[str(value)] = None
    if not facts_of:
        return [Paragraph("No run says where it was made.")]
    return [facts({name: "; ".join(values) for name, values in facts_of.items()})]
