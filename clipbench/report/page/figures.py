"""All pictures of a page, in the order in which they stand there."""

from collections.abc import Callable, Iterator

from clipbench.report.page import compared, costs, local, training
from clipbench.report.page.subject import Subject
from clipbench.report.page.vega import Figure

# The sections of pictures: the names of groups, with what stands above them.
GROUPS = {
    "loss": "",
    "sharpness": "Sharpness",
    "geometry": "Single steps",
    "quantities": "Other quantities over training",
    "race": "The race to the target",
    "tuning": "Tuning",
    "time": "Time",
}
_MAKERS: tuple[Callable[[Subject, str], Iterator[Figure]], ...] = (
    training.figures,
    compared.figures,
    local.figures,
    costs.figures,
)


def figures(subject: Subject, task: str) -> list[Figure]:
    """The pictures of a task; a picture is there only if its numbers are."""
    drawn = [figure for maker in _MAKERS for figure in maker(subject, task)]
    return sorted(drawn, key=lambda figure: list(GROUPS).index(figure.group))
