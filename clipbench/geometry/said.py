"""What a probe says of how curvature was measured."""

from clipbench.geometry.curvature import Curvatures


def engine(curvatures: Curvatures) -> str:
    """The engine in words, and for a fallback the operation that made it one."""
    missing = curvatures.missing_operation
    return f"engine {curvatures.engine}" + (f", as jets have no rule for {missing}" if missing else "")
