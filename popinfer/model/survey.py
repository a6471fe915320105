"""A survey: what it does to galaxies in redshift slices, and the catalog that it made.

`Survey` has a catalog, and is fitted. `PlannedSurvey` has none: models are predicted for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from popinfer.data.filters import FilterName
from popinfer.errors import InputError
from popinfer.loss.kernel_counts import KernelCounts, KernelSpec
from popinfer.records import Arr, Catalog
from popinfer.survey.abundance import Abundance, EffectiveCounts, overcounting_of
from popinfer.survey.detection import Detection, fit_limit
from popinfer.survey.features import feature_matrix, slice_members
from popinfer.survey.integrated_noise import IntegratedNoise
from popinfer.survey.noise import MagnitudeErrors, NoiseModel, QuadraticErrors
from popinfer.survey.redshift import Photoz
from popinfer.survey.selection import Selection


def features_by_slice(
    catalog: Catalog, slices: Sequence[tuple[float, float]], combine: Float[np.ndarray, "band feature"]
) -> list[Float[np.ndarray, "_ feature"]]:
    """Features of each slice's galaxies, NaN where a band that they need is missing."""
    rows = []
    for inside in slice_members(slices, catalog.z):
        mag = np.asarray(catalog.mag)[inside]
        missing = np.isnan(mag)
        values = np.where(missing, 0.0, mag) @ combine
        rows.append(np.where(missing @ (combine != 0), np.nan, values))
    return rows


def fit_detection(
    catalog: Catalog,
    slices: Sequence[tuple[float, float]],
    limits: Mapping[str, tuple[float, float, float]] | None = None,
) -> Detection | None:
    """Limits of the bands that some galaxies lack; None where none lacks any.

    Parameters
    ----------
    catalog : Catalog
        The galaxies.
    slices : Sequence[tuple[float, float]]
        Those outside say nothing.
    limits : Mapping[str, tuple[float, float, float]] or None
        Magnitude, width and largest share of detections of bands for which these are known; those of other
        bands are fitted.
    """
    mag, known = np.asarray(catalog.mag), limits or {}
    inside = np.any(slice_members(slices, catalog.z), axis=0)
    missing = np.isnan(mag[inside])
    optional = tuple(int(b) for b in np.flatnonzero(missing.any(axis=0)))
    if not optional:
        return None
    complete = tuple(b for b in range(mag.shape[1]) if b not in optional)
    each = [known.get(catalog.bands[b]) or fit_limit(catalog, b, complete) for b in optional]
    patterns, number = np.unique(~missing[:, optional], axis=0, return_counts=True)
    ordered = tuple(tuple(bool(x) for x in patterns[i]) for i in np.argsort(-number, kind="stable"))
    limit, width, ceiling = (np.array(column) for column in zip(*each, strict=True))
    return Detection(limit, width, ceiling, optional, ordered)


def patterns_by_slice(
    catalog: Catalog, slices: Sequence[tuple[float, float]], detection: Detection | None
) -> list[Int[np.ndarray, "_"]] | None:
    """Each galaxy's pattern of measured bands, -1 for an unknown one; None where none lacks bands."""
    if detection is None:
        return None
    patterns = []
    for inside in slice_members(slices, catalog.z):
        seen = np.isfinite(np.asarray(catalog.mag)[inside][:, detection.bands])
        same = np.all(seen[:, None, :] == np.array(detection.patterns), axis=-1)
        patterns.append(np.where(same.any(axis=1), np.argmax(same, axis=1), -1))
    return patterns


class NoBandToIntegrateError(InputError):
    """Noise was to be integrated over, and has to be drawn in every band."""


def _integrated(noise: NoiseModel, selection: Selection, drawn: tuple[int, ...]) -> IntegratedNoise:
    """Noise to average over; it is drawn in bands that further cuts or detection use."""
    if len(drawn) == len(np.asarray(noise.factor)):
        raise NoBandToIntegrateError(
            "noise can be integrated over only in a band that no further cut uses and no galaxy lacks"
        )
    return IntegratedNoise.split(noise, selection, drawn)


@dataclass(frozen=True)
class Design:
    """How a survey is compared, beyond its slices, features and selection.

    Attributes
    ----------
    kernels : layout of the kernels.
    correlation : of the bands' errors; independent when absent.
    errors : how large they are; fitted to the catalog's when absent.
    limits : detection limits of bands, see `fit_detection`.
    photoz : errors of photometric redshifts; None where redshifts are spectroscopic.
    abundances : numbers of galaxies that are compared beside the soft counts.
    integrate_noise : average the kernels over photometric errors in place of drawing errors.
    drawn_bands : indices of bands in which errors are drawn all the same, because further cuts use them.
    filters : curves of the bands, as `load_filters` reads them; those that the catalog names when empty.
    name : of the survey, by which parameters of its own are told apart (see `Posterior`); no dot in it.
    """

    kernels: KernelSpec = field(default_factory=KernelSpec)
    correlation: Float[np.ndarray, "band band"] | None = None
    errors: MagnitudeErrors | None = None
    limits: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    photoz: Photoz | None = None
    abundances: tuple[Abundance, ...] = ()
    integrate_noise: bool = False
    drawn_bands: tuple[int, ...] = ()
    filters: tuple[FilterName, ...] = ()
    name: str = ""


class AnySurvey(eqx.Module):
    """What a survey does to galaxies, in redshift slices.

    Attributes
    ----------
    bands : names of the bands, in the order of every band axis.
    slices : redshift limits of each slice, low <= z < high.
    noise : errors of magnitudes.
    selection : probability to be in the sample.
    photoz : errors of photometric redshifts; None where redshifts are spectroscopic.
    filters : curves of the bands, as `load_filters` reads them.
    """

    bands: eqx.AbstractVar[tuple[str, ...]]
    slices: eqx.AbstractVar[tuple[tuple[float, float], ...]]
    noise: eqx.AbstractVar[NoiseModel]
    selection: eqx.AbstractVar[Selection]
    photoz: eqx.AbstractVar[Photoz | None]
    filters: eqx.AbstractVar[tuple[FilterName, ...]]

    def observe(
        self, mag: Float[Array, "point band"], normals: Float[Array, "point band"]
    ) -> tuple[Float[Array, "point band"], Float[Array, "point"]]:
        """Magnitudes with all noise drawn, and the probability to be in the sample."""
        measured = jax.tree.map(lambda x: jnp.asarray(x, mag.dtype), self.noise)(mag, normals)
        return measured, self.selection(measured)


class PlannedSurvey(AnySurvey):
    """A survey without a catalog, described by its bands, depth, selection and redshift slices.

    Attributes
    ----------
    bands : names of the bands, in the order of every band axis.
    slices : redshift limits of each slice, low <= z < high.
    noise : errors of magnitudes.
    selection : probability to be in the sample.
    photoz : errors of photometric redshifts; None where redshifts are spectroscopic.
    filters : curves of the bands, as `load_filters` reads them.
    """

    bands: tuple[str, ...] = eqx.field(static=True)
    slices: tuple[tuple[float, float], ...] = eqx.field(static=True)
    noise: NoiseModel
    selection: Selection
    photoz: Photoz | None = eqx.field(static=True)
    filters: tuple[FilterName, ...] = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        filters: Mapping[str, FilterName],
        slices: Sequence[tuple[float, float]],
        selection: Selection | None = None,
        noise: NoiseModel | None = None,
        photoz: Photoz | None = None,
    ) -> "PlannedSurvey":
        """Describe a survey.

        Parameters
        ----------
        filters : Mapping[str, FilterName]
            Band -> its curve's name or file, see `load_filters`.
        slices : Sequence[tuple[float, float]]
            Redshift limits of each slice, low <= z < high.
        selection : Selection or None
            Probability that a galaxy of some magnitudes is listed; all are when absent.
        noise : NoiseModel or None
            Errors of magnitudes, such as `NoiseModel.of_depths`; none when absent.
        photoz : Photoz or None
            Errors of photometric redshifts; redshifts are spectroscopic when absent.

        Examples
        --------
        >>> lsst = PlannedSurvey.of({"g": "lsst_g", "i": "lsst_i"}, [(0.2, 0.4)])
        >>> lsst.bands
        ('g', 'i')
        """
        limits = tuple((float(low), float(high)) for low, high in slices)
        noise = NoiseModel.none(len(filters)) if noise is None else noise
        curves = tuple(filters.values())
        return cls(tuple(filters), limits, noise, selection or Selection(()), photoz, curves)


class Survey(AnySurvey):
    """What a survey does to galaxies, and what it saw of them, in redshift slices.

    Attributes
    ----------
    bands : names of the bands, in the order of every band axis.
    slices : redshift limits of each slice, low <= z < high.
    noise : errors of magnitudes.
    selection : probability to be in the sample.
    photoz : errors of photometric redshifts; None where redshifts are spectroscopic.
    filters : curves of the bands, as `load_filters` reads them.
    combine : features are linear in magnitudes, mag @ combine: columns are differences of bands, or bands.
    features : those of the observed galaxies, an array [galaxy, feature] a slice, NaN where missing.
    kernels : where soft counts are taken, and the observed ones.
    detection : which bands a galaxy lacks; None where none lacks any.
    abundances : numbers of galaxies that are compared beside the soft counts.
    integrated : noise that soft counts are averaged over; None where they are those of drawn noise.
    name : of the survey, by which parameters of its own are told apart; may be empty.
    """

    bands: tuple[str, ...] = eqx.field(static=True)
    slices: tuple[tuple[float, float], ...] = eqx.field(static=True)
    noise: NoiseModel
    selection: Selection
    photoz: Photoz | None = eqx.field(static=True)
    filters: tuple[FilterName, ...] = eqx.field(static=True)
    combine: Float[Arr, "band feature"]
    features: list[np.ndarray]
    kernels: KernelCounts
    detection: Detection | None = None
    abundances: tuple[Abundance, ...] = ()
    integrated: IntegratedNoise | None = None
    name: str = eqx.field(static=True, default="")

    @classmethod
    def from_catalog(
        cls,
        key: PRNGKeyArray,
        catalog: Catalog,
        slices: Sequence[tuple[float, float]],
        features: Sequence[str],
        selection: Selection,
        design: "Design | None" = None,
    ) -> "Survey":
        """The survey that a catalog comes from.

        Parameters
        ----------
        key : PRNGKeyArray
            Random key of the random choice of kernel centers.
        catalog : Catalog
            Observed galaxies, NaN for bands that one lacks.
        slices : Sequence[tuple[float, float]]
            Redshift limits of each slice, low <= z < high.
        features : Sequence[str]
            What is compared: colors such as "g-r", or magnitudes such as "r".
        selection : Selection
            Probability that a galaxy of some magnitudes is in the catalog.
        design : Design or None
            What else there is to say; the defaults when absent.

        Raises
        ------
        InputError
            A slice has too few galaxies for its kernels, a band too few errors, or noise can't be averaged.
        """
        design, slices = design or Design(), tuple((float(low), float(high)) for low, high in slices)
        combine = feature_matrix(catalog.bands, features)
        detection = fit_detection(catalog, slices, design.limits)
        rows = features_by_slice(catalog, slices, combine)
        patterns = patterns_by_slice(catalog, slices, detection)
        errors = QuadraticErrors.fit(catalog) if design.errors is None else design.errors
        noise = NoiseModel.of(
            errors, len(catalog.bands) if design.correlation is None else design.correlation
        )
        integrated = None
        if design.integrate_noise:
            drawn = set(design.drawn_bands) | set(() if detection is None else detection.bands)
            integrated = _integrated(noise, selection, tuple(sorted(drawn)))
        kernels = KernelCounts.build(key, rows, design.kernels, patterns)
        return cls(
            bands=catalog.bands,
            slices=slices,
            noise=noise,
            selection=selection,
            photoz=design.photoz,
            filters=design.filters or catalog.filter_names,
            combine=combine,
            features=rows,
            kernels=kernels,
            detection=detection,
            abundances=design.abundances,
            integrated=integrated,
            name=design.name,
        )

    def members(self, z: Float[Arr, "gal"]) -> list[Bool[np.ndarray, "gal"]]:
        """Which galaxies belong to each slice."""
        return slice_members(self.slices, z)

    def features_in(self, catalog: Catalog) -> list[Float[np.ndarray, "_ feature"]]:
        """Features of another catalog's galaxies, an array a slice, NaN where a band is missing."""
        return features_by_slice(catalog, self.slices, np.asarray(self.combine))

    def patterns_in(self, catalog: Catalog) -> list[Int[np.ndarray, "_"]] | None:
        """Each galaxy's pattern of measured bands, -1 for an unknown one; None where none lacks bands."""
        return patterns_by_slice(catalog, self.slices, self.detection)

    def features_of(self, mag: Float[Arr, "*n band"]) -> Float[Array, "*n feature"]:
        """Colors and magnitudes from magnitudes."""
        return jnp.matmul(jnp.asarray(mag), jnp.asarray(self.combine, mag.dtype), precision="highest")

    def expect(
        self, mag: Float[Array, "point band"], normals: Float[Array, "point band"]
    ) -> tuple[Float[Array, "point band"], Float[Array, "point"]]:
        """Magnitudes with the noise that can't be integrated over, and the expected probability."""
        return (self if self.integrated is None else self.integrated).observe(mag, normals)

    def patterns(self, mag: Float[Array, "*n band"]) -> Float[Array, "*n pattern"] | None:
        """Probability of each pattern of measured bands; None where all galaxies have all bands."""
        return None if self.detection is None else self.detection(mag)

    def effective_counts(self) -> list[EffectiveCounts]:
        """The abundances in the form of counts."""
        if not self.abundances:
            return []
        kernels = self.kernels
        overcounting = []
        for used, observed, cov in zip(kernels.mask, kernels.observed, kernels.data_cov, strict=True):
            own = np.flatnonzero(np.asarray(used) > 0)
            overcounting.append(overcounting_of(np.asarray(observed)[own], np.asarray(cov)[np.ix_(own, own)]))
        return [EffectiveCounts.of(one, np.array(overcounting)) for one in self.abundances]

    def density(
        self, mag: Float[Array, "slice point band"], weight: Float[Array, "slice point"]
    ) -> Float[Array, "slice"]:
        """Mean number of galaxies per volume that the catalog lists [1/Mpc^3]."""
        if self.detection is None:
            return jnp.sum(weight, axis=1)
        listed = jnp.sum(self.detection(mag) * jnp.asarray(self.kernels.counted)[:, None, :], axis=-1)
        return jnp.sum(weight * listed.astype(weight.dtype), axis=1)

    def complete(
        self, mag: Float[Array, "slice point band"], weight: Float[Array, "slice point"]
    ) -> Float[Array, "slice point"]:
        """Weights of model galaxies times the probability that all their features are measured."""
        if self.detection is None:
            return weight
        has_all = jnp.asarray(self.kernels.whiten).any(axis=-1).all(axis=-1)
        probability = jnp.sum(self.detection(mag) * has_all[:, None, :], axis=-1)
        return weight * probability.astype(weight.dtype)

    def listed(
        self,
        mag: Float[Array, "slice point band"],
        features: Float[Array, "slice point feature"],
        weight: Float[Array, "slice point"],
    ) -> tuple[Float[Array, "slice row feature"], Float[Array, "slice row"]]:
        """Model galaxies as the catalog lists them: a row a galaxy and pattern, NaN where missing."""
        if self.detection is None:
            return features, weight
        lacking = jnp.asarray(np.asarray(self.kernels.whiten).any(axis=-1) == 0)
        counted = jnp.asarray(self.kernels.counted, weight.dtype)
        each = weight[..., None] * self.detection(mag) * counted[:, None, :]
        rows = jnp.where(lacking[:, None], jnp.nan, features[:, :, None, :])
        n_slice, n_feature = len(features), features.shape[-1]
        return rows.reshape(n_slice, -1, n_feature), each.reshape(n_slice, -1)
