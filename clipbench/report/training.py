"""How training steps were computed, in words: for the headings of comparisons and the page of a run."""

from collections.abc import Iterable

from clipbench.records import AS_WRITTEN, TrainingSettings


def described(settings: TrainingSettings) -> str:
    """`micro-batches of 8, bf16, 4 processes`; empty where nothing was set."""
    given = {
        f"micro-batches of {settings.micro_batch}": settings.micro_batch is not None,
        settings.precision: settings.precision != AS_WRITTEN.precision,
        "compiled": settings.compile,
        "activations recomputed": settings.recompute,
        f"{settings.processes} processes": settings.processes > 1,
    }
    return ", ".join(text for text, is_set in given.items() if is_set)


def ways(settings: Iterable[TrainingSettings]) -> list[str]:
    """The settings of all runs of a comparison, each once; none where no run has any."""
    texts = dict.fromkeys(described(each) for each in settings)
    return [text or "default training" for text in texts] if any(texts) else []


def threads(text: str, settings: Iterable[TrainingSettings]) -> str:
    """`1 thread` as it is, and `1 thread each` of runs over several processes."""
    return f"{text} each" if any(each.processes > 1 for each in settings) else text
