"""What a probe says of how curvature was measured."""

from clipbench.geometry.curvature import Curvatures


def engine(curvatures: Curvatures) -> str:
    """The engine in words, for a fallback the operation or the disagreement that made it one, and all remarks."""
    why = ""
    if curvatures.missing_operation:
        why = f", as jets have no rule for {curvatures.missing_operation}"
    elif curvatures.disagreement:
        why = f", as jets do not agree with ordinary differentiation on the {curvatures.disagreement}"
    return "; ".join((f"engine {curvatures.engine}{why}", *curvatures.remarks))
