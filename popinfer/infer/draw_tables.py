"""Draws of a posterior as people use them: named physical values in ArviZ and pandas, and back to vectors."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from popinfer.errors import InputError
from popinfer.inference_data import InferenceData, from_groups, group_names, read_group
from popinfer.params import ParamSpace


def named_draws(
    space: ParamSpace, u: Float[np.ndarray, "chain draw par"], attrs: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Vectors as one variable a parameter, in physical units.

    Parameters
    ----------
    space : ParamSpace
        The free parameters.
    u : Float[np.ndarray, "chain draw par"]
        Vectors of the free parameters, each a standard normal number where its prior is.
    attrs : Mapping[str, Any] or None
        What the dataset says of itself.
    """
    variables = {
        p.name: (
            ("chain", "draw"),
            np.asarray(p.prior.to_physical(jnp.asarray(u[..., i]))),
            {"unit": p.unit, "meaning": p.meaning},
        )
        for i, p in enumerate(space.free)
    }
    coords = {"chain": np.arange(u.shape[0]), "draw": np.arange(u.shape[1])}
    return xr.Dataset(variables, coords=coords, attrs=dict(attrs or {}))


def to_inference_data(
    space: ParamSpace,
    u: Float[np.ndarray, "chain draw par"],
    stats: Mapping[str, Float[np.ndarray, "chain draw"]] | None = None,
) -> InferenceData:
    """Vectors from any sampler as an InferenceData.

    Parameters
    ----------
    space : ParamSpace
        The free parameters.
    u : Float[np.ndarray, "chain draw par"]
        Vectors of the free parameters, each a standard normal number where its prior is.
    stats : Mapping[str, Float[np.ndarray, "chain draw"]] or None
        Sample statistics by ArviZ's names, such as ``lp`` and ``diverging``.

    Returns
    -------
    InferenceData
        Group ``posterior`` with a variable [chain, draw] a parameter, in physical units, and group
        ``sample_stats`` where there are statistics; with ArviZ 1 a DataTree.

    Examples
    --------
    >>> import numpy as np
    >>> from popinfer import FreeParam, ParamSpace, Prior
    >>> space = ParamSpace((FreeParam("dust.lg_av", Prior("normal", -0.4, 0.3)),))
    >>> idata = to_inference_data(space, np.zeros((2, 5, 1)))
    >>> draws_table(idata).shape, float(draws_table(idata)["dust.lg_av"].mean())
    ((10, 1), -0.4)
    >>> draw_vectors(space, idata).shape
    (10, 1)
    """
    groups = {"posterior": named_draws(space, u)}
    if stats:
        sample_stats = {name: (("chain", "draw"), np.asarray(x)) for name, x in stats.items()}
        groups["sample_stats"] = xr.Dataset(sample_stats)
    return from_groups(groups)


def draws_table(idata: InferenceData, group: str = "posterior") -> pd.DataFrame:
    """Physical values of all draws as a table.

    Parameters
    ----------
    idata : InferenceData
        The draws; with ArviZ 1 a DataTree.
    group : str
        Group whose variables [chain, draw] become columns.

    Returns
    -------
    pd.DataFrame
        A column a parameter, in physical units, and a row a draw, indexed by chain and draw.

    Raises
    ------
    InputError
        There is no such group.
    """
    if group not in group_names(idata):
        raise InputError(f"no group '{group}' in the draws; there are {', '.join(group_names(idata))}")
    dataset = read_group(idata, group)
    values = {name: dataset[name].transpose("chain", "draw").values.ravel() for name in dataset.data_vars}
    axes = [dataset["chain"].values, dataset["draw"].values]
    return pd.DataFrame(values, index=pd.MultiIndex.from_product(axes, names=["chain", "draw"]))


def draw_vectors(space: ParamSpace, draws: InferenceData | pd.DataFrame) -> Float[np.ndarray, "draw par"]:
    """Draws as vectors of the free parameters, all chains one after the other.

    Parameters
    ----------
    space : ParamSpace
        The free parameters.
    draws : InferenceData or pd.DataFrame
        Physical values, an InferenceData's ``posterior`` or a table with a column a parameter.

    Returns
    -------
    Float[np.ndarray, "draw par"]
        Vectors u, each component a standard normal number where its prior is.

    Raises
    ------
    InputError
        A parameter is missing, or a value is outside its prior.
    """
    table = draws if isinstance(draws, pd.DataFrame) else draws_table(draws)
    missing = [name for name in space.names if name not in table.columns]
    if missing:
        raise InputError(f"no draws of {', '.join(missing)}")
    columns = []
    for p in space.free:
        x = table[p.name].to_numpy(float)
        # draws in a prior's far tail may have been rounded to its end
        low, high = (end if np.isfinite(end) else 0.0 for end in (p.prior.low, p.prior.high))
        x = np.where(x == p.prior.low, np.nextafter(low, np.inf), x)
        x = np.where(x == p.prior.high, np.nextafter(high, -np.inf), x)
        columns.append(p.prior.to_unconstrained(x))
    return np.stack(columns, axis=-1)
