"""Published relations that the derived quantities are compared with, a few numbers each.

Everything is brought to one convention: no little h (H0 = 70 km/s/Mpc where a paper needs one), and a
Chabrier (2003) or Kroupa (2001) IMF, which agree within 0.05 dex in stellar mass and star formation rate.
Star formation rates published for a Salpeter IMF are multiplied by 0.63 (Madau & Dickinson 2014, section
3.1). Nothing is done about H0 between 67 and 70: 0.02 dex in the cosmic star formation rate density.

Stellar mass at fixed halo mass (both are empirical models, not data)
    Moster, Naab & White 2013 (MNRAS 428, 3121), equations 2 and 11-14: M200c, Chabrier.
    Behroozi et al. 2019 (MNRAS 488, 3143), appendix J, all galaxies, observed masses: peak virial mass,
    Chabrier.
Quenched fraction
    Moustakas et al. 2013 (ApJ 767, 50), SDSS-GALEX 0.01 < z < 0.2, h = 0.7, Chabrier, their division in SFR
    against mass. Counts of a flux-limited sample, here pairs of their 0.1 dex bins; at fixed mass
    star-forming galaxies are seen farther out, so up to about 10^11.2 Msun, where the counts fall off less
    steeply than a mass function, the fractions are low.
    Gilbank et al. 2010 (MNRAS 405, 2594), SDSS 0.01 < z < 0.2, h = 0.7, Kroupa; without errors.
Specific star formation rate
    Bauer et al. 2013 (MNRAS 434, 209), GAMA 0.05 < z < 0.32, Chabrier: medians; bars show the scatter.
Cosmic star formation rate density
    Madau & Dickinson 2014 (ARA&A 52, 415), equation 15, Salpeter.
    Cucciati et al. 2012 (A&A 539, A31), VVDS far ultraviolet, h = 0.7, Salpeter.
    Gruppioni et al. 2013 (MNRAS 432, 23), Herschel, h = 0.7, Salpeter.
    Enia et al. 2022 (ApJ 927, 204), 1.4 GHz, h = 0.678, Chabrier.
"""

from dataclasses import dataclass, field

import numpy as np

from popinfer.data.published import BAUER13, LG_SALPETER_TO_CHABRIER_SFR, madau14_lg_csfrd


@dataclass(frozen=True)
class Published:
    """A published relation: points with errors (1 sigma, or scatter), or a curve.

    Attributes
    ----------
    label : short citation for a legend.
    x, y : values, shape (n,).
    y_low, y_high : lower and upper error [same unit as y], shape (n,); None when none were published.
    curve : draw it as a line rather than as points.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    y_low: np.ndarray | None = field(default=None)
    y_high: np.ndarray | None = field(default=None)
    curve: bool = False


def moster13_lg_mstar(lgmh: np.ndarray, z: float) -> np.ndarray:
    """Mean log10 stellar mass [Msun] of central galaxies at halo mass M200c [log10 Msun], shape of `lgmh`."""
    growth = z / (1 + z)
    lgm1 = 11.590 + 1.195 * growth
    norm = 0.0351 - 0.0247 * growth
    beta = 1.376 - 0.826 * growth
    gamma = 0.608 + 0.329 * growth
    x = lgmh - lgm1
    return lgmh + np.log10(2 * norm / (10 ** (-beta * x) + 10 ** (gamma * x)))


def behroozi19_lg_mstar(lgmh: np.ndarray, z: float) -> np.ndarray:
    """Median log10 stellar mass [Msun] at peak halo mass [log10 Msun], shape of `lgmh`."""
    a1, lna = 1 / (1 + z) - 1, -np.log1p(z)
    lgm1 = 12.035 + 4.556 * a1 - 4.417 * lna - 0.731 * z
    eps = -1.435 + 1.831 * a1 - 1.368 * lna - 0.217 * z
    alpha = 1.963 - 2.316 * a1 + 1.732 * lna + 0.178 * z
    beta = 0.482 - 0.841 * a1 - 0.471 * z
    lg_gamma = -1.034 - 3.100 * a1 - 1.055 * z
    x = lgmh - lgm1
    bump = 10**lg_gamma * np.exp(-0.5 * (x / 0.411) ** 2)
    return lgm1 + eps - np.log10(10 ** (-alpha * x) + 10 ** (-beta * x)) + bump


def stellar_mass_halo_mass(z: float) -> tuple[Published, ...]:
    """Published stellar mass-halo mass relations at redshift `z`."""
    lgmh = np.linspace(10.5, 15.0, 91)
    return (
        Published("Moster+13", lgmh, moster13_lg_mstar(lgmh, z), curve=True),
        Published("Behroozi+19", lgmh, behroozi19_lg_mstar(lgmh, z), curve=True),
    )


# log10 Msun, galaxies, quiescent galaxies: each row the sum of two published bins of 0.1 dex
_MOUSTAKAS13 = np.array(
    [
        (9.05, 2279, 395),
        (9.25, 2991, 501),
        (9.45, 3980, 596),
        (9.65, 5285, 821),
        (9.85, 7405, 1264),
        (10.05, 10298, 2341),
        (10.25, 14697, 4528),
        (10.45, 20242, 7970),
        (10.65, 25771, 12064),
        (10.85, 28320, 15911),
        (11.05, 24953, 16932),
        (11.25, 14399, 11545),
        (11.45, 4517, 3986),
        (11.65, 736, 681),
    ]
)
_GILBANK10 = np.array(
    [
        (1.091e9, 0.090),
        (2.213e9, 0.120),
        (4.487e9, 0.111),
        (8.812e9, 0.212),
        (1.845e10, 0.309),
        (3.509e10, 0.410),
        (6.674e10, 0.498),
        (1.311e11, 0.624),
        (2.413e11, 0.767),
        (5.054e11, 0.868),
    ]
)
# redshift; log10 density, Salpeter; errors up and down
_CUCCIATI12 = np.array(
    [
        (0.126, -1.645, 0.181, 0.181),
        (0.298, -1.443, 0.125, 0.118),
        (0.502, -1.345, 0.105, 0.098),
        (0.703, -1.150, 0.091, 0.091),
        (0.905, -0.913, 0.091, 0.084),
        (1.101, -0.850, 0.098, 0.091),
        (1.456, -0.843, 0.146, 0.091),
        (2.103, -0.620, 0.495, 0.084),
        (3.002, -0.864, 0.265, 0.153),
        (4.006, -1.366, 0.223, 0.321),
    ]
)
_GRUPPIONI13 = np.array(
    [
        (0.15, -1.64, 0.09, 0.11),
        (0.375, -1.42, 0.03, 0.04),
        (0.525, -1.32, 0.05, 0.05),
        (0.70, -1.14, 0.06, 0.06),
        (0.90, -0.94, 0.05, 0.06),
        (1.10, -0.81, 0.04, 0.05),
        (1.45, -0.84, 0.04, 0.04),
        (1.85, -0.86, 0.02, 0.03),
        (2.25, -0.91, 0.09, 0.12),
        (2.75, -0.86, 0.15, 0.23),
        (3.60, -1.36, 0.23, 0.50),
    ]
)
# redshift; log10 density, Chabrier; error
_ENIA22 = np.array(
    [
        (0.25, -1.78, 0.24),
        (0.55, -1.38, 0.14),
        (0.85, -1.16, 0.16),
        (1.5, -0.96, 0.17),
        (2.5, -0.99, 0.22),
        (3.5, -1.09, 0.25),
    ]
)


def quenched_fraction() -> tuple[Published, ...]:
    """Quenched fractions of all galaxies against log10 stellar mass [Msun], z about 0.1."""
    lgm, n_all, n_quiescent = _MOUSTAKAS13.T
    fraction = n_quiescent / n_all
    error = np.sqrt(fraction * (1 - fraction) / n_all)
    mass, gilbank = _GILBANK10.T
    return (
        Published("Moustakas+13", lgm, fraction, error, error),
        Published("Gilbank+10", np.log10(mass), gilbank),
    )


def lg_ssfr(definition: str = "star_forming") -> tuple[Published, ...]:
    """Median log10 sSFR [1/yr] against log10 stellar mass; of star-forming galaxies, or of "all"."""
    lgm, median, high, low, median_all = BAUER13.T
    if definition == "all":
        keep = np.isfinite(median_all)
        return (Published("Bauer+13, all", lgm[keep], median_all[keep]),)
    return (Published("Bauer+13 (bars: scatter)", lgm, median, low, high),)


def lg_csfrd() -> tuple[Published, ...]:
    """Return the log10 cosmic star formation rate density [Msun/yr/Mpc^3] against redshift."""
    z = np.linspace(0, 6, 121)
    shift = LG_SALPETER_TO_CHABRIER_SFR
    (z_c, c, c_high, c_low), (z_g, g, g_high, g_low), (z_e, e, e_err) = (
        table.T for table in (_CUCCIATI12, _GRUPPIONI13, _ENIA22)
    )
    return (
        Published("Madau & Dickinson 14", z, madau14_lg_csfrd(z), curve=True),
        Published("Cucciati+12", z_c, c + shift, c_low, c_high),
        Published("Gruppioni+13", z_g, g + shift, g_low, g_high),
        Published("Enia+22", z_e, e, e_err, e_err),
    )
