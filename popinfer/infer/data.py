"""What is compared: observed counts, their errors, and the linear combinations that the likelihood uses.

Compared are logarithms, y with log m(u), because errors of the model and of a halo sample are fractions of a
count, and because a residual in the logarithm grows however far the model is from the data. With d the
observed counts, D their covariance, and m_c the model's counts where the posterior is,

    y = log d + diag(V) / 2                         (without the bias of a noisy count's logarithm;
                                                     published numbers err in their logarithms, y = log d),
    V = R_kl + (D_kl / (d_k d_l) - R_kl) sqrt(d_k d_l / (m_ck m_cl)).

V is in proportion to 1 / m, not to 1 / d: a count that happens to be high would otherwise weigh more than one
that happens to be low, and draw the model up. Not so R, errors in proportion to a number (cosmic variance,
published tables; none in soft counts). V is taken from the observed galaxies in all else, and m_c / d is kept
within two standard deviations, so that a bad model can't remove the counts that refute it.

Overlapping kernels make neighbouring counts almost equal. The statistics are therefore the leading
eigenvectors of the counting noise's correlation matrix, as many as hold 99 % of its trace in each redshift
slice, of residuals in units of their standard deviation; numbers that aren't soft counts (abundances) are all
kept. That matrix, and with it the correlations in the errors allowed to the model, is the survey's that laid
the kernels out: part of the design, not of the data, for surveys simulated in its place.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import block_diag

from popinfer.errors import InputError

TRACE_KEPT = 0.99
EXPECTED_REACH = 2.0  # standard deviations that m_c may be away from d


@dataclass(frozen=True)
class Data:
    """Observed counts and their covariances.

    Attributes
    ----------
    observed : d. A count that isn't used is one in model and data, without variance.
    data_cov : D, covariance of d.
    slice_of : redshift slice of each count; soft counts of different slices are independent.
    soft : which of the counts are soft counts; the others are abundances.
    model_cov : covariance of the errors allowed to the model's log-counts.
    relative_cov : R of the module's equations.
    layout_cov : D of the survey that laid the kernels out, whose correlations define modes; data_cov when
        absent.
    published : numbers whose errors are those of their logarithms; none when absent.
    expected : m_c, counts that V is taken at; d when absent.
    halo_factor : factor on the halo sample's covariance; other than one only to see that a calibration
    notices.
    """

    observed: Float[np.ndarray, "stat"]
    data_cov: Float[np.ndarray, "stat stat"]
    slice_of: Int[np.ndarray, "stat"]
    soft: Bool[np.ndarray, "stat"]
    model_cov: Float[np.ndarray, "stat stat"] | float = 0.0
    relative_cov: Float[np.ndarray, "stat stat"] | float = 0.0
    layout_cov: Float[np.ndarray, "stat stat"] | None = None
    published: Bool[np.ndarray, "stat"] | None = None
    expected: Float[np.ndarray, "stat"] | None = None
    halo_factor: float = 1.0

    @property
    def used(self) -> Bool[np.ndarray, "stat"]:
        """Counts that say something."""
        return np.diag(self.data_cov) > 0

    @property
    def counting_cov(self) -> Float[np.ndarray, "stat stat"]:
        """V of the module's equations."""
        scale = np.sqrt(self.observed / (self.observed if self.expected is None else self.expected))
        falling = self.data_cov / np.outer(self.observed, self.observed) - self.relative_cov
        return self.relative_cov + falling * np.outer(scale, scale)

    @property
    def log_observed(self) -> Float[np.ndarray, "stat"]:
        """y of the module's equations."""
        noisy = np.full(len(self.observed), True) if self.published is None else ~self.published
        return np.log(self.observed) + 0.5 * noisy * np.diag(self.counting_cov)

    @property
    def log_cov(self) -> Float[np.ndarray, "stat stat"]:
        """Covariance of y and of the model's allowed errors, without halo noise."""
        return self.counting_cov + self.model_cov

    def expecting(self, log_counts: Float[np.ndarray, "stat"]) -> "Data":
        """The same data with V taken at a model's counts, as far as the data allow."""
        plain = dataclasses.replace(self, expected=None)
        reach = EXPECTED_REACH * np.sqrt(np.diag(plain.log_cov))
        away = np.clip(log_counts - np.log(self.observed), -reach, reach)
        return dataclasses.replace(self, expected=self.observed * np.exp(away))


def joined(parts: Sequence[Data]) -> Data:
    """The data of several surveys as one: their counts are independent, their slices numbered through.

    Parameters
    ----------
    parts : Sequence[Data]
        Of each survey, at least one.

    Raises
    ------
    InputError
        The surveys have different factors on their halo samples' covariance.
    """
    if len(parts) == 1:
        return parts[0]
    if len({part.halo_factor for part in parts}) > 1:
        raise InputError("halo_factor: the data of several surveys need one factor on the halos' covariance")

    def together(name: str) -> Float[np.ndarray, "stat stat"]:
        """Covariances beside each other; a number stands for a matrix of it."""
        return np.asarray(
            block_diag(*(np.broadcast_to(getattr(part, name), part.data_cov.shape) for part in parts))
        )

    layouts = [part.data_cov if part.layout_cov is None else part.layout_cov for part in parts]
    published = [np.full(len(p.observed), False) if p.published is None else p.published for p in parts]
    expected = [part.observed if part.expected is None else part.expected for part in parts]
    first_slice = np.cumsum([0, *(int(part.slice_of.max()) + 1 for part in parts[:-1])])
    return Data(
        observed=np.concatenate([part.observed for part in parts]),
        data_cov=together("data_cov"),
        slice_of=np.concatenate([n + part.slice_of for n, part in zip(first_slice, parts, strict=True)]),
        soft=np.concatenate([part.soft for part in parts]),
        model_cov=together("model_cov"),
        relative_cov=together("relative_cov"),
        layout_cov=np.asarray(block_diag(*layouts)),
        published=np.concatenate(published),
        expected=None if all(part.expected is None for part in parts) else np.concatenate(expected),
        halo_factor=parts[0].halo_factor,
    )


def layout_correlations(data: Data) -> Float[np.ndarray, "stat stat"]:
    """Correlations of counting noise in the survey that laid the kernels out; zero for abundances."""
    layout_cov = data.data_cov if data.layout_cov is None else data.layout_cov
    soft = data.used & data.soft & (np.diag(layout_cov) > 0)
    sd = np.where(soft, np.sqrt(np.diag(layout_cov)), 1.0)
    return np.where(np.outer(soft, soft), layout_cov / np.outer(sd, sd), 0.0)


def eigenmodes(data: Data) -> Float[np.ndarray, "stat mode"]:
    """Columns that combine residuals: each slice's modes of soft counts, then abundances one by one."""
    soft, correlations = data.soft, layout_correlations(data)
    columns = [np.eye(len(soft))[:, ~soft & data.used]]
    for index in np.unique(data.slice_of[soft]):
        inside = np.flatnonzero(data.used & soft & (data.slice_of == index))
        values, vectors = np.linalg.eigh(correlations[np.ix_(inside, inside)])
        values, vectors = values[::-1], vectors[:, ::-1]
        n_kept = int(np.searchsorted(np.cumsum(values), TRACE_KEPT * values.sum())) + 1
        modes = np.zeros((len(soft), min(n_kept, len(inside))))
        modes[inside] = vectors[:, :n_kept] / np.sqrt(np.diag(data.log_cov)[inside])[:, None]
        columns.append(modes)
    return np.concatenate(columns, axis=1)
