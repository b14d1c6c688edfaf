"""Numbers in tables: rounded to their standard error, and shown with it."""

import math

from clipbench.judging.words import factor, number

PLUS_MINUS = "±"
TIMES_OVER = "×/÷"
NONE = "–"

_ROUNDING = 1e-12  # a relative error this small is rounding: the values were equal

Parts = tuple[str, ...]  # the pieces of a cell: side by side if there is room, else stacked


def with_error(mean: float, error: float, *, signed: bool = False, unit: str = "") -> Parts:
    """A mean to the first digit of its error, to the second where that is a 1: 2.961 ± 0.012, 2.96 ± 0.03.

    An unknown error is shown as ± ?.

    >>> with_error(2.96123, 0.0123), with_error(2.96123, 0.0312), with_error(0.5, math.nan, signed=True)
    (('2.961', '± 0.012'), ('2.96', '± 0.03'), ('+0.5', '± ?'))
    """
    sign = "+" if signed else ""
    if not math.isfinite(mean):
        return (number(mean) + unit,)
    if not math.isfinite(error):
        return f"{mean:{sign}.4g}", f"{PLUS_MINUS} ?{unit}"
    if error <= _ROUNDING * abs(mean):
        return f"{mean:{sign}.4g}", f"{PLUS_MINUS} 0{unit}"
    if max(abs(mean), error) >= 1e6 or error < 1e-6:
        return f"{mean:{sign}.4g}", f"{PLUS_MINUS} {error:.2g}{unit}"
    size = math.floor(math.log10(error))
    decimals = max(0, (1 if error < 2 * 10.0**size else 0) - size)
    if not float(f"{mean:.{decimals}f}"):  # neither +0.00 nor -0.00: the sign is within the error
        mean, sign = 0.0, ""
    return f"{mean:{sign}.{decimals}f}", f"{PLUS_MINUS} {error:.{decimals}f}{unit}"


def with_factor(mean: float, error: float) -> Parts:
    """A geometric mean with its multiplicative error; an unknown error is shown as ×/÷ ?.

    >>> with_factor(0.31234, 1.2072)
    ('0.312', '×/÷ 1.21')
    """
    if not math.isfinite(mean):
        return (number(mean),)
    return number(mean), f"{TIMES_OVER} {factor(error, 3) if math.isfinite(error) else '?'}"


def seconds(value: float) -> str:
    """A duration a person can read: 0.42 s, 12.3 s, 3 min 20 s."""
    if value < 60:
        return f"{value:.3g} s"
    whole = round(value)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
