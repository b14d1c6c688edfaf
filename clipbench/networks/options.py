"""Checks that a task's options make sense, before any work is done."""


def require_positive(**values: float) -> None:
    """Every value must be above zero and finite; the keyword is the option's name.

    Raises:
        ValueError: naming the first option that is not.
    """
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a positive number, not {value}")


def require_heads(width: int, heads: int) -> None:
    """A width must divide evenly into the heads of an attention layer.

    Raises:
        ValueError: it does not.
    """
    if width % heads:
        raise ValueError(f"width must be a multiple of heads, and {width} is not a multiple of {heads}")
