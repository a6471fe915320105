"""Whether the model describes the data, and where it doesn't.

Of the likelihood's own statistics, the chi-square with P and the modes E of `popinfer.infer.likelihood`

    chi2(u) = (y - log m(u))^T P (y - log m(u))

is judged twice, for all slices together and for each. Its covariance has the noise of counting, of the halo
sample, and the errors that the run file allows to the model.

- At the best fit it is compared with a chi-square distribution of (number of modes - number of parameters
  that the data determine) degrees of freedom.
- For draws u_s of the posterior a replicate survey is y_rep = log m(u_s) + noise, with the noise of the
  likelihood, and p = mean_s Prob[chi2(y_rep, u_s) >= chi2(y_obs, u_s)] (Gelman, Meng & Stern 1996, Statistica
  Sinica 6, 733). The noise is Gaussian and taken relative to u_s, so that a replicate's chi2 has a chi-square
  distribution with as many degrees of freedom as modes whatever u_s: none need be drawn. Parameters were
  fitted to the same data, therefore p of a true model lies nearer 1/2 than a uniform number does; values near
  0 mean a misfit, near 1 errors too large.

In terms that a person knows, for each color and magnitude in each redshift slice,

    median,    width = 84th - 16th percentile [mag],    blue fraction = share bluer than a dividing color,

of the observed galaxies are compared with their posterior predictive distribution: replicate surveys of as
many galaxies as were observed, drawn (multinomially) from the weighted model galaxies, photometric noise
included, of posterior draws. The dividing color of a slice is the one that splits its observed galaxies into
the two parts with the least variance within (Otsu 1979, IEEE Trans. SMC 9, 62): between blue cloud and red
sequence where there are two. A magnitude has none.

A replicate's numbers t have counting noise and the posterior's spread; the halo sample's noise is added,

    t + sd_b[t_b] / sqrt(B) * normal,

with t_b the expected number of each batch of halos at one place in the posterior, and B the batches that the
prediction joins. The model's allowed error is *not* in them: with thousands of galaxies p is small wherever
the model is imperfect, however little that matters; the difference in mag tells how much.

Two-sided p-value: twice the smaller of the shares of replicates at or below and at or above the observed
number, which is counted among the replicates so that p is never zero.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy.stats import chi2 as chi2_distribution

from popinfer.infer.likelihood import Information, Likelihood


@dataclass(frozen=True)
class ChiSquare:
    """Chi-square, degrees of freedom, and the probability of a larger chi-square."""

    chi2: float
    n_eff: float
    p_value: float


def determined_parameters(cov: Float[np.ndarray, "par par"]) -> float:
    """How many parameters the data determine: sum over directions of 1 - posterior / prior variance."""
    return float(np.clip(1 - np.linalg.eigvalsh(cov), 0, 1).sum())


def chi_square_of_fit(
    info: Information, slice_of: Int[np.ndarray, "stat"], n_determined: float
) -> tuple[ChiSquare, list[ChiSquare]]:
    """Chi-square of the best fit, of all slices together and of each.

    Parameters
    ----------
    info : Information
        At the posterior's maximum.
    slice_of : Int[np.ndarray, "stat"]
        Redshift slice of each count.
    n_determined : float
        Parameters that the data determine, see `determined_parameters`; each slice is charged its share.
    """
    modes, residual = info.likelihood.modes, info.residual
    charge = n_determined / modes.shape[1]

    def judge(total: float, n_modes: int) -> ChiSquare:
        degrees = max(n_modes * (1 - charge), 1.0)
        return ChiSquare(total, degrees, float(chi2_distribution.sf(total, degrees)))

    pull = residual * (info.likelihood.precision @ residual)
    slices = []
    for index in np.unique(slice_of):
        inside = slice_of == index
        n_modes = int(np.any(modes[inside] != 0, axis=0).sum())
        slices.append(judge(float(pull[inside].sum()), n_modes))
    return judge(float(pull.sum()), modes.shape[1]), slices


@dataclass(frozen=True)
class PredictiveChiSquare:
    """Chi-square of every posterior draw, its degrees of freedom, and the posterior predictive p-value."""

    chi2: Float[np.ndarray, "draw"]
    n_modes: int

    @property
    def p_value(self) -> float:
        """Share of replicate surveys farther from the model than the observed one."""
        return float(chi2_distribution.sf(self.chi2, self.n_modes).mean())


def chi_square_of_draws(
    likelihood: Likelihood, log_counts: Float[np.ndarray, "draw stat"]
) -> tuple[PredictiveChiSquare, list[PredictiveChiSquare]]:
    """Chi-square of posterior draws, of all slices together and of each.

    Parameters
    ----------
    likelihood : Likelihood
        Data, modes and their covariance.
    log_counts : Float[np.ndarray, "draw stat"]
        Log m(u_s) of posterior draws, as the likelihood has them.
    """
    modes, slice_of = likelihood.modes, likelihood.data.slice_of
    noise = likelihood.cov + likelihood.halo_cov
    residuals = (likelihood.data.log_observed - log_counts) @ modes
    slice_of_mode = slice_of[np.argmax(modes != 0, axis=0)]

    def judge(chosen: Int[np.ndarray, "chosen"]) -> PredictiveChiSquare:
        residual, inverse = residuals[:, chosen], np.linalg.inv(noise[np.ix_(chosen, chosen)])
        return PredictiveChiSquare(np.einsum("dm,mn,dn->d", residual, inverse, residual), len(chosen))

    slices = [judge(np.flatnonzero(slice_of_mode == index)) for index in np.unique(slice_of)]
    return judge(np.arange(modes.shape[1])), slices


STATISTICS = ("median", "width", "blue_fraction")
N_REPLICATES = 20  # of each posterior draw
_PERCENTILES = (0.16, 0.5, 0.84)
_OUTLIERS = (1, 99)  # percentiles between which dividing colors are looked for


def dividing_color(x: Float[np.ndarray, "gal"]) -> float:
    """Color that splits galaxies into two parts with the least variance within; NaN without two galaxies."""
    x = np.sort(x[np.isfinite(x)])
    if x.size < 2:
        return np.nan
    low, high = np.percentile(x, _OUTLIERS)
    x = x[(x >= low) & (x <= high)]
    below = np.arange(1, x.size)
    sums = np.cumsum(x)[:-1]
    difference = sums / below - (x.sum() - sums) / (x.size - below)
    best = int(np.argmax(below * (x.size - below) * difference**2))
    return float(0.5 * (x[best] + x[best + 1]))


def dividing_colors(
    names: tuple[str, ...], features: list[Float[np.ndarray, "_ feature"]]
) -> Float[np.ndarray, "slice feature"]:
    """Dividing colors of the observed galaxies of every slice; NaN for magnitudes."""
    return np.array(
        [
            [dividing_color(x[:, f]) if "-" in name else np.nan for f, name in enumerate(names)]
            for x in features
        ]
    )


class SortedGalaxies:
    """Galaxies of one slice, every feature sorted once, to be counted many times.

    Parameters
    ----------
    x : Float[np.ndarray, "gal feature"]
        Features [galaxy, feature], NaN where missing.
    dividing : Float[np.ndarray, "feature"]
        Dividing color of each feature.
    """

    def __init__(self, x: Float[np.ndarray, "gal feature"], dividing: Float[np.ndarray, "feature"]) -> None:
        self._columns = []
        for values, border in zip(np.asarray(x, float).T, dividing, strict=True):
            order = np.argsort(values)[: int(np.isfinite(values).sum())]  # NaN come last
            self._columns.append((order, values[order], border))

    def statistics(self, weight: Float[np.ndarray, "gal"]) -> Float[np.ndarray, "statistic feature"]:
        """Numbers of `STATISTICS` for galaxies that count as often as `weight` says; NaN without any."""
        numbers = np.full((len(STATISTICS), len(self._columns)), np.nan)
        for f, (order, values, border) in enumerate(self._columns):
            seen = weight[order] > 0
            w, v = weight[order][seen], values[seen]
            if not w.size:
                continue
            total = w.sum()
            low, median, high = np.interp(_PERCENTILES, (np.cumsum(w) - 0.5 * w) / total, v)
            blue = w[v < border].sum() / total if np.isfinite(border) else np.nan
            numbers[:, f] = median, high - low, blue
        return numbers


@dataclass(frozen=True)
class HaloNoise:
    """What the halo sample leaves uncertain in some numbers: standard deviations."""

    sd: Float[np.ndarray, "*numbers"]

    @classmethod
    def of(cls, batches: Float[np.ndarray, "batch *numbers"], n_joined: int) -> "HaloNoise":
        """From the numbers of every batch at one place, for predictions on `n_joined` of them together."""
        return cls(batches.std(axis=0, ddof=1) / np.sqrt(n_joined))


@dataclass(frozen=True)
class Replicator:
    """Draws replicate surveys from model galaxies.

    Attributes
    ----------
    n_observed : galaxies of each slice.
    dividing : their dividing colors.
    rng : source of random numbers.
    noise : of the halo sample.
    """

    n_observed: tuple[int, ...]
    dividing: Float[np.ndarray, "slice feature"]
    rng: np.random.Generator
    noise: HaloNoise

    def __call__(
        self,
        features: Float[np.ndarray, "slice gal feature"],
        weight: Float[np.ndarray, "slice gal"],
        n: int = N_REPLICATES,
    ) -> Float[np.ndarray, "replicate slice statistic feature"]:
        """Numbers of n surveys drawn from the model galaxies of one posterior draw."""
        surveys = []
        for s, n_gal in enumerate(self.n_observed):
            galaxies, w = SortedGalaxies(features[s], self.dividing[s]), np.asarray(weight[s], float)
            counts = self.rng.multinomial(n_gal, w / w.sum(), size=n)
            surveys.append([galaxies.statistics(times) for times in counts.astype(float)])
        normals = self.rng.standard_normal((n, *self.noise.sd.shape))
        return np.stack(surveys, axis=1) + self.noise.sd * normals


def expected_statistics(
    features: Float[np.ndarray, "slice gal feature"],
    weight: Float[np.ndarray, "slice gal"],
    dividing: Float[np.ndarray, "slice feature"],
) -> Float[np.ndarray, "slice statistic feature"]:
    """Numbers of weighted model galaxies, without counting noise."""
    slices = zip(features, np.asarray(weight, float), dividing, strict=True)
    return np.stack([SortedGalaxies(x, border).statistics(w) for x, w, border in slices])


def observed_statistics(
    features: list[Float[np.ndarray, "_ feature"]], dividing: Float[np.ndarray, "slice feature"]
) -> Float[np.ndarray, "slice statistic feature"]:
    """Numbers of the observed galaxies."""
    slices = zip(features, dividing, strict=True)
    return np.stack([SortedGalaxies(x, border).statistics(np.ones(len(x))) for x, border in slices])


def two_sided(
    observed: Float[np.ndarray, "*n"], replicates: Float[np.ndarray, "replicate *n"]
) -> Float[np.ndarray, "*n"]:
    """Two-sided p-values of observed numbers among replicates; NaN where either is."""
    below = 1 + (replicates <= observed).sum(axis=0)
    above = 1 + (replicates >= observed).sum(axis=0)
    p = np.minimum(2 * np.minimum(below, above) / (len(replicates) + 1), 1.0)
    return np.where(np.isfinite(observed) & np.isfinite(replicates).all(axis=0), p, np.nan)


def feature_checks(
    names: tuple[str, ...],
    observed: Float[np.ndarray, "slice statistic feature"],
    replicates: Float[np.ndarray, "replicate slice statistic feature"],
    dividing: Float[np.ndarray, "slice feature"],
) -> xr.Dataset:
    """Observed numbers against replicates, for the ``checks`` group of `popinfer.report`."""
    dims = ("slice", "statistic", "feature")
    variables: dict[str, Any] = {
        "observed": (dims, observed),
        "predicted": (dims, replicates.mean(axis=0)),
        "predicted_sd": (dims, replicates.std(axis=0, ddof=1)),
        "p_value": (dims, two_sided(observed, replicates)),
        "dividing_color": (("slice", "feature"), dividing, {"unit": "mag"}),
    }
    coords = {"statistic": list(STATISTICS), "feature": list(names)}
    return xr.Dataset(variables, coords=coords, attrs={"n_replicates": len(replicates)})
