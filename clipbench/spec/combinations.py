"""Settings of a spec that are sound each by itself, and not together."""

from collections.abc import Iterator, Sequence

from clipbench.errors import Fault
from clipbench.spec.choices import Chosen
from clipbench.spec.document import SpecDocument
from clipbench.spec.models import SpecFile


def at_odds(document: SpecDocument, written: SpecFile, probes: Sequence[Chosen]) -> Iterator[Fault]:
    """What a spec asks for that cannot be had together."""
    if written.training.compile:
        for name in (name for name, arm in written.optimizers.items() if arm.create_graph):
            message = (
                "torch cannot differentiate the gradient of a compiled model; take out `compile: true` under "
                "`training`, or this arm"
            )
            yield document.fault(("optimizers", name, "create_graph"), message)
    if written.measure.precision != "float32" and any(_is_kinks(probe) for probe in probes):
        message = (
            f"the probe kinks compares curvature with finite steps in float32, which {written.measure.precision} is "
            "too coarse for; write float32, or take the probe out"
        )
        yield document.fault(("measure", "precision"), message)


def _is_kinks(probe: Chosen) -> bool:
    return probe.entry.target == "clipbench.probes.kinks:measure"
