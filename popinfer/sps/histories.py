"""Star formation histories and stars as callers give them: refused where they can't be right.

Tables are checked where JAX isn't tracing them; see `concrete`.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from popinfer.errors import InputError

from .concrete import known, require
from .dust import check_attenuation
from .metallicity import check_metallicity
from .stars import Attenuation, Stars

_OLDEST = 100.0  # Gyr: no cosmology is that old, so the unit is another one
_LGMET_MAX = -0.3  # half of the mass in metals: above, it is Z itself, or log10 of Z/Zsun
_SLACK = 1e-4  # of t_obs: single precision, and ages of the universe that differ in the fourth digit


def as_floats(x: Any) -> Float[Array, "..."]:
    """The array in its own precision if that is single or double, else in JAX's default precision."""
    x = jnp.asarray(x)
    return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.result_type(float))


def check_times(name: str, t_table: Any) -> None:
    """Refuse times [Gyr] that aren't a table's.

    Raises
    ------
    InputError
        Names the rows that don't increase, or the value that can't be a time.
    """
    t = known(t_table)
    if t is None:
        return
    if t.ndim != 1 or t.size < 2:
        raise InputError(f"{name} has shape {t.shape}: a table has two times at least, on one axis")
    if not np.isfinite(t).all():
        row = int(np.flatnonzero(~np.isfinite(t))[0])
        raise InputError(f"{name}: row {row + 1} holds {t[row]}: times have to be finite")
    if np.any(np.diff(t) <= 0):
        row = int(np.flatnonzero(np.diff(t) <= 0)[0])
        raise InputError(
            f"{name}: row {row + 1} holds {t[row]:g} and row {row + 2} {t[row + 1]:g}: times have to "
            f"increase (write a step as two times that differ a little)"
        )
    if t[0] < 0 or t[-1] > _OLDEST:
        raise InputError(f"{name} runs from {t[0]:g} to {t[-1]:g}: it has to be cosmic time in Gyr")


def check_history(t_table: Any, sfr_table: Any, t_obs: Any) -> None:
    """Refuse a table of star formation rates [Msun/yr], or of many galaxies' [gal, t].

    Raises
    ------
    InputError
        Names the row, galaxy and value, or a time of observation outside the table.
    """
    check_times("t_table", t_table)
    n_t, shape = np.shape(t_table)[-1], np.shape(sfr_table)
    if shape[-1:] != (n_t,):
        raise InputError(f"sfr_table has shape {shape}, t_table {n_t} times: the last axis has to be as long")
    if not isinstance(sfr_table, Tracer) and np.size(sfr_table):
        sfr = np.asarray(sfr_table)  # not jax.numpy: inside a compiled function that would be traced
        if not (sfr.min() >= 0 and np.isfinite(sfr.max())):
            where = np.argwhere(~(np.isfinite(sfr) & (sfr >= 0)))[0]
            raise InputError(
                f"sfr_table{where.tolist()} = {sfr[tuple(where)]:g}: rates have to be finite and not negative"
            )
    t, observed = known(t_table), known(t_obs)
    if t is not None and observed is not None:
        slack = _SLACK * float(t[-1])
        why = f"the table has {t[0]:g} to {t[-1]:g} Gyr; nothing is known beyond it (add rows of zeros if so)"
        require("t_obs", observed, t[0], t[-1], why, slack)


def check_population(stars: Stars, attenuation: Attenuation | None, t_obs: Any) -> None:
    """Refuse stars and dust of a population that can't be right.

    Raises
    ------
    InputError
        Names the argument, its value or shape, and what is allowed.
    """
    shape = np.shape(stars.sfr_table)
    if len(shape) != 2:
        raise InputError(f"sfr_table has shape {shape}: a population's has two axes, [gal t]")
    check_history(stars.t_table, stars.sfr_table, t_obs)
    n = shape[0]
    per_galaxy = {"lgmet": stars.lgmet, "t_obs": t_obs}
    if attenuation is not None:
        per_galaxy |= {"av": attenuation.av, "f_unobscured": attenuation.f_unobscured}
        check_attenuation(attenuation.av, attenuation.f_unobscured)
    for name, values in per_galaxy.items():
        if np.ndim(values) and np.shape(values)[0] != n:
            raise InputError(
                f"{name} has shape {np.shape(values)}: one value a galaxy, of which there are {n}"
            )
    check_metallicity(stars.lgmet, stars.lgmet_scatter, _LGMET_MAX)
