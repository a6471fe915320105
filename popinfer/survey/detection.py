"""Which bands of a galaxy are measured: missing bands and upper limits.

A galaxy of magnitude m in band b is measured there with probability

    P_b(m) = c_b Phi((l_b - m) / w_b),

Phi the normal distribution function: a limiting magnitude l_b, its softness w_b, and the share c_b of the
sample that was observed in b at all. Given its magnitudes, bands are missing independently, so a pattern of
measured bands has probability prod_{b measured} P_b prod_{b missing} (1 - P_b). A population model that
carries these probabilities as weights can be compared with galaxies whatever bands they lack; leaving such
galaxies out instead removes the faint ones, which are red where the band is blue.

Limits that aren't known are fitted to the catalog by censored regression (Tobin 1958, Econometrica 26, 24;
Amemiya 1985, Advanced Econometrics, ch. 10): with x functions of the magnitudes that every galaxy has and
m | x ~ N(a.x, s^2), a measured galaxy contributes N(m; a.x, s^2) P_b(m) and one without m contributes

    1 - int P_b(m) N(m; a.x, s^2) dm = 1 - c_b Phi((l_b - a.x) / sqrt(w_b^2 + s^2)).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float
from scipy.optimize import minimize

from popinfer.errors import InputError
from popinfer.random import fixed_key, numpy_generator
from popinfer.records import Arr, Catalog

MIN_MISSING = 30  # galaxies without a band, below which its detection can't be fitted
_MAX_FITTED = 20_000
_WIDTH_RANGE = (0.01, 2.0)  # mag


class Detection(eqx.Module):
    """Probability of each pattern of measured bands.

    Attributes
    ----------
    limit, width : magnitude at which half of the galaxies are measured, and softness [mag], one a band that
        may be missing.
    ceiling : probability for bright galaxies.
    bands : columns of these bands on the band axis.
    patterns : for each pattern, which of these bands are measured.
    """

    limit: Float[Arr, "optional"]
    width: Float[Arr, "optional"]
    ceiling: Float[Arr, "optional"]
    bands: tuple[int, ...] = eqx.field(static=True)
    patterns: tuple[tuple[bool, ...], ...] = eqx.field(static=True)

    def band_probability(self, mag: Float[Arr, "*n band"]) -> Float[Array, "*n optional"]:
        """P_b of galaxies with these measured magnitudes."""
        m = jnp.asarray(mag)[..., jnp.array(self.bands)]
        limit, width, ceiling = (jnp.asarray(x, m.dtype) for x in (self.limit, self.width, self.ceiling))
        return ceiling * norm.cdf((limit - m) / width)

    def __call__(self, mag: Float[Arr, "*n band"]) -> Float[Array, "*n pattern"]:
        """Probability of each pattern."""
        p = self.band_probability(mag)[..., None, :]
        return jnp.prod(jnp.where(jnp.array(self.patterns), p, 1 - p), axis=-1)


def fit_limit(catalog: Catalog, band: int, complete: tuple[int, ...]) -> tuple[float, float, float]:
    """Limit, width and ceiling of one band by censored regression; see the module's equations.

    Parameters
    ----------
    catalog : Catalog
        Galaxies, NaN where the band is missing.
    band : int
        Its column.
    complete : tuple[int, ...]
        Columns of bands that every galaxy has.

    Raises
    ------
    InputError
        When too few galaxies lack the band, or have it, for a fit.
    """
    mag = np.asarray(catalog.mag, float)
    if len(mag) > _MAX_FITTED:
        rng = numpy_generator(fixed_key("detection", catalog.bands[band]))
        mag = mag[rng.choice(len(mag), _MAX_FITTED, replace=False)]
    seen = np.isfinite(mag[:, band])
    if min(seen.sum(), (~seen).sum()) < MIN_MISSING:
        raise InputError(
            f"band {catalog.bands[band]}: {seen.sum()} galaxies have it, {(~seen).sum()} lack it; at least "
            f"{MIN_MISSING} of each are needed to fit its limit: give detection_mag"
        )
    others = mag[:, list(complete)]
    x = (others - others.mean(axis=0)) / others.std(axis=0)
    design = np.column_stack([np.ones(len(x)), x, x**2])
    start = _start(design[seen], mag[seen, band])
    loss = jax.jit(jax.value_and_grad(lambda p: _negative_log_likelihood(p, design, mag[:, band], seen)))
    bounds = [(None, None)] * design.shape[1] + [(-5, 2), (0, 40), np.log(_WIDTH_RANGE), (-3, 12)]
    best = minimize(lambda p: [np.asarray(v, float) for v in loss(p)], start, jac=True, bounds=bounds)
    limit, ln_width, logit = best.x[-3:]
    return float(limit), float(np.exp(ln_width)), float(1 / (1 + np.exp(-logit)))


def _start(design: np.ndarray, mag: np.ndarray) -> np.ndarray:
    """Where the fit starts: regression of the measured galaxies, a limit near the faintest of them."""
    slope, *_ = np.linalg.lstsq(design, mag, rcond=None)
    scatter = np.std(mag - design @ slope) + 1e-3
    return np.concatenate([slope, [np.log(scatter), np.percentile(mag, 95), np.log(0.2), 3.0]])


def _negative_log_likelihood(
    p: Float[Arr, "par"],
    design: Float[Arr, "gal column"],
    mag: Float[Arr, "gal"],
    seen: Bool[np.ndarray, "gal"],
) -> Float[Array, ""]:
    """Mean over galaxies of -log likelihood of the censored regression."""
    expected = jnp.asarray(design) @ p[:-4]
    scatter, limit, width = jnp.exp(p[-4]), p[-3], jnp.exp(p[-2])
    log_ceiling = jax.nn.log_sigmoid(p[-1])
    m = jnp.where(seen, jnp.nan_to_num(jnp.asarray(mag)), expected)
    measured = norm.logpdf(m, expected, scatter) + log_ceiling + norm.logcdf((limit - m) / width)
    anywhere = log_ceiling + norm.logcdf((limit - expected) / jnp.hypot(width, scatter))
    missing = jnp.log1p(-jnp.exp(jnp.minimum(anywhere, -1e-9)))
    return -jnp.mean(jnp.where(seen, measured, missing))
