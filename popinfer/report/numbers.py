"""How the report writes numbers: as many figures as they are known to, a true minus sign, a dash for none."""

import math

from popinfer.report.parameters import ParameterRow

NONE = "–"


def fixed_decimals(value: float, decimals: int = 2) -> str:
    """Write a number with fixed decimals and a true minus sign; a dash when it isn't finite."""
    if not math.isfinite(value):
        return NONE
    rounded = round(value, decimals) + 0.0  # adding zero turns a negative zero into a plain one
    return f"{rounded:,.{decimals}f}".replace("-", "−")


def probability(p: float) -> str:
    """Write a p-value to two significant figures, with a floor."""
    return NONE if not math.isfinite(p) else f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def significant(value: float) -> str:
    """Write a number of any size to three figures."""
    if not math.isfinite(value):
        return NONE
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def of_parameter(value: float, row: ParameterRow) -> str:
    """Write a parameter's value to two significant figures of its posterior width."""
    return fixed_decimals(value, decimals_of(row.posterior_sd))


def interval(row: ParameterRow) -> str:
    """Write the 95 % interval of a parameter."""
    return f"{of_parameter(row.low95, row)} … {of_parameter(row.high95, row)}"


def measured(row: ParameterRow) -> str:
    """Write a parameter's median with its 68 % interval and unit, such as "0.71 +0.05 −0.08 dex"."""
    up, down = (of_parameter(x, row) for x in (row.high68 - row.median, row.median - row.low68))
    errors = f"± {up}" if up == down else f"+{up} −{down}"
    return " ".join(filter(None, (of_parameter(row.median, row), errors, row.unit)))


def decimals_of(sd: float) -> int:
    """Decimals that show two significant figures of a standard deviation."""
    if not (math.isfinite(sd) and sd > 0):
        return 3
    return max(0, 1 - math.floor(math.log10(sd)))


def seconds(value: float) -> str:
    """Write a duration as people read it."""
    if not math.isfinite(value):
        return NONE
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
