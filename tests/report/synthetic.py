"""A small made-up run: draws, predictions and derived relations with the layout that the report reads."""

import jax
import numpy as np
import xarray as xr
from inference_groups import draws_of

from popinfer.inference_data import InferenceData, add_groups, read_group
from popinfer.report import RunSummary
from popinfer.resampling import pareto_smooth, shuffled_systematic

PARAMETERS = {
    "sfh.critical_mass": (
        0.1,
        0.05,
        0.3,
        "dex",
        "shift of the halo mass where star formation is most efficient",
    ),
    "sfh.efficiency": (-0.05, 0.03, 0.2, "dex", "shift of the peak star formation efficiency"),
    "sfh.quenching_time": (0.2, 0.15, 0.3, "dex", "shift of the cosmic time of quenching"),
    "dust.av": (-0.1, 0.04, 0.3, "dex", "shift of the V-band attenuation"),
    "metallicity.zero_point": (0.05, 0.09, 0.1, "dex", "stellar metallicity at 10^10.5 Msun"),
    "template.knot_4000": (0.02, 0.01, 0.05, "mag", "template error at 4000 Angstrom, rest frame"),
}
FEATURES = ("u-g", "g-r", "r-i", "i-z", "r")
PAIRS = (("g-r", "u-g"), ("r-i", "g-r"))
SLICES = ((0.03, 0.06), (0.06, 0.09), (0.09, 0.12), (0.12, 0.16))


def draws(seed: int = 0, *, chains: int = 4, n: int = 500, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Independent normal draws; the first two parameters are correlated."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(len(PARAMETERS), chains, n))
    z[1] = 0.8 * z[0] + 0.6 * z[1]
    return {name: row[0] + scale * row[1] * z[i] for i, (name, row) in enumerate(PARAMETERS.items())}


def nuts_stats(seed: int = 1, *, chains: int = 4, n: int = 500) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "diverging": np.zeros((chains, n), dtype=bool),
        "energy": rng.normal(size=(chains, n)) * 2 + 100,
        "tree_depth": rng.integers(2, 5, size=(chains, n)),
        "lp": -50 - rng.chisquare(len(PARAMETERS), size=(chains, n)) / 2,
        "acceptance_rate": rng.uniform(0.6, 1, size=(chains, n)),
        "n_steps": np.full((chains, n), 7),
    }


def chains(posterior: dict[str, np.ndarray] | None = None, **changed: np.ndarray) -> InferenceData:
    """A NUTS run without predictions; `changed` replaces sampler statistics (None removes one)."""
    posterior = draws() if posterior is None else posterior
    shape = next(iter(posterior.values())).shape
    stats = {**nuts_stats(chains=shape[0], n=shape[1]), **changed}
    idata = draws_of(
        posterior=posterior, sample_stats={key: value for key, value in stats.items() if value is not None}
    )
    idata["sample_stats"].attrs.update(ATTRIBUTES)
    return with_coordinates(idata)


OF_THE_FIT = {"region_settled": 1, "halo_share": 0.1, "best_fit_lp": 0.0}
ATTRIBUTES = {"sampler": "nuts_exact", "max_tree_depth": 10, **OF_THE_FIT}


def vectors(posterior: dict[str, np.ndarray]) -> np.ndarray:
    """Draws as vectors, (chain, draw, par): all priors are normal around zero."""
    return np.stack([x / PARAMETERS[name][2] for name, x in posterior.items()], axis=-1)


def with_coordinates(idata: InferenceData, **more: tuple) -> InferenceData:
    """The draws with their vectors, one maximum, and draws of the prior."""
    rng, names = np.random.default_rng(5), [str(name) for name in idata["posterior"].data_vars]
    u = vectors({name: idata["posterior"][name].values for name in names})
    mean, sd = (np.array([PARAMETERS[name][i] / PARAMETERS[name][2] for name in names]) for i in (0, 1))
    cov = np.diag(sd**2)
    i, j = names.index("sfh.critical_mass"), names.index("sfh.efficiency")
    cov[i, j] = cov[j, i] = 0.8 * sd[i] * sd[j]
    arrays = {
        "posterior": (("chain", "draw", "par"), u),
        "maximum_mean": (("maximum", "par"), mean[None]),
        "maximum_cov": (("maximum", "par", "par_"), cov[None]),
        "maximum_weight": (("maximum",), np.ones(1)),
    }
    prior = {name: (("chain", "draw"), rng.normal(size=(1, 2000)) * PARAMETERS[name][2]) for name in names}
    groups = {"unconstrained": xr.Dataset(arrays | more, coords={"par": names}), "prior": xr.Dataset(prior)}
    add_groups(idata, groups)
    return idata


def weighted(log_weight: np.ndarray | None, **changed: np.ndarray) -> InferenceData:
    """Draws of a surrogate: its chains, and draws resampled by their exact weights in four pseudo-chains.

    `changed` replaces statistics of the chains.
    """
    markov = chains(**changed)
    names = list(PARAMETERS)
    physical = np.stack([markov["posterior"][name].values for name in names], axis=-1).reshape(-1, len(names))
    weights = np.zeros(600) if log_weight is None else log_weight
    order = np.arange(len(weights)) % len(physical)
    proposals = physical[np.random.default_rng(7).permutation(len(physical))][order]
    smoothed = pareto_smooth(weights)[0]
    weight = np.exp(smoothed) if np.isfinite(smoothed).any() else np.ones(len(weights))
    picked = proposals[shuffled_systematic(jax.random.key(1), weight, 1000)].reshape(4, 250, -1)
    idata = draws_of(posterior={name: picked[..., i] for i, name in enumerate(names)})
    stats = xr.Dataset(
        {"lp": (("chain", "draw"), np.zeros((4, 250)))}, attrs={**ATTRIBUTES, "sampler": "nuts"}
    )
    if log_weight is not None:
        stats["log_weight"] = (("proposal",), log_weight)
    markovs = {"chains": read_group(markov, "posterior"), "chain_stats": read_group(markov, "sample_stats")}
    add_groups(idata, {"sample_stats": stats, **markovs})
    u, scale = markov["unconstrained"]["posterior"].values, np.array([PARAMETERS[n][2] for n in names])
    center = u.mean(axis=(0, 1))
    nodes = center + 1.25 * (u.reshape(-1, u.shape[-1])[::10] - center)
    return with_coordinates(
        idata,
        chains=(("surrogate_chain", "surrogate_draw", "par"), u),
        proposals=(("proposal", "par"), proposals / scale),
        nodes=(("node", "par"), nodes),
    )


def _population(rng: np.random.Generator, n: int, redshift: float) -> np.ndarray:
    """A red and a blue population, (n, 5) colors and magnitude."""
    red = rng.random(n) < 0.5
    center = np.where(red[:, None], (1.8, 0.85, 0.38, 0.3), (1.2, 0.5, 0.25, 0.12)) + redshift
    width = np.where(red[:, None], (0.15, 0.06, 0.03, 0.04), (0.2, 0.12, 0.06, 0.06))
    mag = 17.5 - rng.exponential(0.8, size=n)
    return np.column_stack([center + width * rng.normal(size=(n, 4)), mag])


def _edges() -> np.ndarray:
    low, high = (0.4, 0.1, 0.0, -0.2, 13.5), (2.6, 1.3, 0.7, 0.7, 17.6)
    return np.array([np.linspace(a, b, 31) for a, b in zip(low, high, strict=True)])


def _counts(galaxies: np.ndarray, edges: np.ndarray, *, weight: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    hist = np.array([np.histogram(galaxies[:, i], edges[i])[0] for i in range(len(FEATURES))])
    where = [(FEATURES.index(x), FEATURES.index(y)) for x, y in PAIRS]
    pair = np.array(
        [np.histogram2d(galaxies[:, i], galaxies[:, j], (edges[i], edges[j]))[0] for i, j in where]
    )
    return weight * hist, weight * pair


def _derived(rng: np.random.Generator, n: int) -> xr.Dataset:
    lgmh, lgm, z = np.linspace(11, 14.5, 30), np.linspace(9, 11.6, 25), np.linspace(0, 4, 30)
    shift = rng.normal(size=(n, 1)) * 0.05
    smhm = 10.5 + 2.0 * (lgmh - 12) - np.log10(1 + 10 ** (1.6 * (lgmh - 12))) + shift
    quenched = 1 / (1 + np.exp(-(lgm - 10.6 + shift) / 0.25))
    lg_ssfr = -9.9 - 0.2 * (lgm - 10) + shift
    csfrd = np.log10(0.0095 * (1 + z) ** 2.7 / (1 + ((1 + z) / 2.9) ** 5.6)) + shift
    relations = xr.Dataset(
        {
            "smhm": (("draw", "lgmh"), smhm, {"z": 0.08}),
            "smhm_fiducial": (("lgmh",), smhm[0] + 0.15),
            "quenched_fraction": (("draw", "lgmstar"), quenched, {"z": 0.08}),
            "lg_ssfr": (("draw", "lgmstar"), lg_ssfr, {"z": 0.08, "definition": "star_forming"}),
            "csfrd": (("draw", "z"), csfrd),
            "csfrd_fiducial": (("z",), csfrd[0] - 0.1),
        },
        coords={"lgmh": lgmh, "lgmstar": lgm, "z": z},
    )
    return relations


def _checks(rng: np.random.Generator) -> xr.Dataset:
    """Checks that find nothing but the median of u-g in the last slice, 0.06 mag too blue."""
    shape = (len(SLICES), 3, len(FEATURES))
    sd = np.full(shape, 0.004)
    predicted = np.broadcast_to(np.array([1.0, 0.4, 0.45])[:, None], shape).copy()
    observed, p_value = predicted + 0.5 * sd * rng.choice([-1, 1], size=shape), np.full(shape, 0.6)
    observed[3, 0, 0], p_value[3, 0, 0] = predicted[3, 0, 0] - 0.06, 2 / 1201
    for values in (observed, predicted, sd, p_value):
        values[:, 2, 4] = np.nan  # a magnitude has no blue fraction
    numbers = {"observed": observed, "predicted": predicted, "predicted_sd": sd, "p_value": p_value}
    return xr.Dataset(
        {key: (("slice", "statistic", "feature"), one) for key, one in numbers.items()},
        coords={"statistic": ["median", "width", "blue_fraction"], "feature": list(FEATURES)},
        attrs={"n_replicates": 1200},
    )


def run(seed: int = 0, *, n_draw: int = 40, drawn: InferenceData | None = None) -> InferenceData:
    """A whole converged run with a model that misses u-g by 0.06 mag in the last slice.

    `drawn` has its chains.
    """
    rng = np.random.default_rng(seed)
    edges, idata = _edges(), chains() if drawn is None else drawn
    data, model = [], []
    for index, (low, high) in enumerate(SLICES):
        z = (low + high) / 2
        data.append(_counts(_population(rng, 1500, z), edges))
        galaxies = _population(rng, 60_000, z)
        galaxies[:, 0] += 0.06 * (index == 3)
        model.append(_counts(galaxies, edges, weight=1500 / 60_000))
    hist, pair = (np.array([one[i] for one in model]) for i in (0, 1))
    scale = np.exp(0.02 * rng.normal(size=(1, n_draw, 1, len(FEATURES), 1)))
    expected = rng.gamma(4, 8, size=(len(SLICES), 60))
    centers = np.stack([_population(rng, 60, np.mean(limits)) for limits in SLICES])
    soft = expected * np.exp(0.03 * rng.normal(size=(1, n_draw, 1, 1)))
    coords = {"feature": list(FEATURES)}
    predictive = {"hist": hist * scale, "soft_counts": soft}
    groups = {
        "posterior_predictive": xr.Dataset(
            {key: (("chain", "draw", "slice", *tail), predictive[key]) for key, tail in _TAILS.items()}
            | {"pair": (("slice", "pair", "x", "y"), pair)},
            coords=coords,
        ),
        "observed_data": xr.Dataset(
            {
                "hist": (("slice", "feature", "bin"), np.array([one[0] for one in data])),
                "pair": (("slice", "pair", "x", "y"), np.array([one[1] for one in data])),
                "soft_counts": (
                    ("slice", "kernel"),
                    expected + np.sqrt(expected) * rng.normal(size=expected.shape),
                ),
                "soft_counts_sd": (("slice", "kernel"), np.sqrt(expected)),
                "bin_edges": (("feature", "edge"), edges),
                "pair_x_edges": (("pair", "edge"), np.array([edges[FEATURES.index(x)] for x, _ in PAIRS])),
                "pair_y_edges": (("pair", "edge"), np.array([edges[FEATURES.index(y)] for _, y in PAIRS])),
                "pair_name": (("pair",), [f"{x}|{y}" for x, y in PAIRS]),
                "slice_z": (("slice", "bound"), np.array(SLICES)),
                "kernel_center": (("slice", "kernel", "feature"), centers),
            },
            coords=coords,
        ),
    }
    add_groups(idata, {**groups, "derived": _derived(rng, n_draw), "checks": _checks(rng)})
    return idata


_TAILS = {"hist": ("feature", "bin"), "soft_counts": ("kernel",)}


def summary() -> RunSummary:
    return RunSummary(
        name="sdss_synthetic",
        config_text="name: sdss_synthetic\ncatalog:\n  path: sdss.parquet  # <a>\n",
        versions={"popinfer": "0.1.0", "jax": "0.8.1", "python": "3.11.9"},
        hashes={"ssp_bc03.h5": "ab" * 32, "sdss.parquet": "0c" * 32},
        wall_time_s={"halos": 12.0, "fit": 42.5, "sample": 731.0, "report": 9.0},
        n_galaxies=(1500, 1500, 1500, 1500),
        dropped=(("r fainter than 17.5", 1230), ("magnitude missing", 17)),
        n_halos=32768,
        best_fit={name: row[0] + 0.3 * row[1] for name, row in PARAMETERS.items()},
        log_density_best=-182.4,
        chi2=243.1,
        n_eff=171.0,
        p_value=0.004,
        predictive_p_value=0.0061,
        goodness_per_slice=tuple(
            {"chi2": c, "n_eff": 43.0, "p_value": p, "predictive_p_value": 1.1 * p}
            for c, p in ((41, 0.5), (46, 0.3), (52, 0.1), (104, 1e-4))
        ),
        halo_share_max=0.17,
        halo_share_median=0.06,
        flat_directions=("metallicity.zero_point",),
        starts=({"start": 3, "log_density": -196.0, "distance": 7.2},),
        sampler={"gradients evaluated": 21_456, "step size": 0.62, "accepted": 0.87},
        warnings=("Filter z reaches beyond the template's red end.",),
        priors={name: f"normal(0, {row[2]})" for name, row in PARAMETERS.items()},
        units={name: row[3] for name, row in PARAMETERS.items()},
        meanings={name: row[4] for name, row in PARAMETERS.items()},
    )
