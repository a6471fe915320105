"""What travels between stages: arrays with named axes and units.

Axes: ``gal`` observed galaxies, ``halo`` simulated halos, ``point`` weighted model galaxies, ``band``,
``met`` and ``age`` SSP nodes, ``wave`` wavelengths, ``feature`` colors and magnitudes.
"""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float
from numpy import ndarray

if TYPE_CHECKING:
    from diffmah.diffmah_kernels import DiffmahParams
else:
    DiffmahParams = tuple  # importing diffmah takes a second that the checks of a run file don't need

Arr = Array | ndarray  # NumPy until it enters a traced function


class SliceLoss(NamedTuple):
    """What one slice of redshift lost for one reason.

    Attributes
    ----------
    low, high : the slice; redshifts from low to below high.
    band : whose values the reason is about; empty where it is about galaxies as such.
    reason : why.
    rows : how many galaxies, or values of galaxies that are kept without them.
    """

    low: float
    high: float
    band: str
    reason: str
    rows: int


class Catalog(eqx.Module):
    """Observed galaxies after cleaning.

    Attributes
    ----------
    z : redshift.
    mag, mag_err : AB magnitudes and their 1-sigma errors; a missing value is NaN in both.
    bands : band names, in the order of the band axis.
    filter_names : the filter curve of each band.
    dropped : (reason, number of rows) for every row that was left out.
    source, sha256 : where the rows came from.
    losses : the same by slice and band, where slices were named; also values that kept galaxies lack.
    id : name of each galaxy; None where the table names none.
    warnings : sentences on what a person should look at.
    notes : on what was done.
    doubtful_bands : bands whose columns some of the warnings are about.
    """

    z: Float[Arr, "gal"]
    mag: Float[Arr, "gal band"]
    mag_err: Float[Arr, "gal band"]
    bands: tuple[str, ...] = eqx.field(static=True)
    filter_names: tuple[str, ...] = eqx.field(static=True)
    dropped: tuple[tuple[str, int], ...] = eqx.field(static=True, default=())
    losses: tuple[SliceLoss, ...] = eqx.field(static=True, default=())
    source: str = eqx.field(static=True, default="")
    sha256: str = eqx.field(static=True, default="")
    id: tuple[str, ...] | None = eqx.field(static=True, default=None)
    warnings: tuple[str, ...] = eqx.field(static=True, default=())
    notes: tuple[str, ...] = eqx.field(static=True, default=())
    doubtful_bands: tuple[str, ...] = eqx.field(static=True, default=())


class SSP(eqx.Module):
    """Simple stellar populations on a grid of metallicity and age (the DSPS HDF5 layout).

    Attributes
    ----------
    ssp_lgmet : log10 of the metal mass fraction Z.
    ssp_lg_age_gyr : log10 age [Gyr].
    ssp_wave : rest-frame wavelength [Angstrom].
    ssp_flux : luminosity per unit frequency [Lsun/Hz per Msun formed].
    ssp_surviving_mstar_frac : surviving stellar mass per Msun formed, or None.
    ssp_emline_wave, ssp_emline_luminosity, ssp_emline_name : wavelengths [Angstrom], luminosities [Lsun per
        Msun formed] and names of nebular lines, or None.
    emission_in_flux : whether ``ssp_flux`` already holds nebular emission.
    source, sha256 : where the grid came from.
    """

    ssp_lgmet: Float[Arr, "met"]
    ssp_lg_age_gyr: Float[Arr, "age"]
    ssp_wave: Float[Arr, "wave"]
    ssp_flux: Float[Arr, "met age wave"]
    ssp_surviving_mstar_frac: Float[Arr, "met age"] | None = None
    ssp_emline_wave: Float[Arr, "line"] | None = None
    ssp_emline_luminosity: Float[Arr, "met age line"] | None = None
    ssp_emline_name: tuple[str, ...] = eqx.field(static=True, default=())
    emission_in_flux: bool = eqx.field(static=True, default=False)
    source: str = eqx.field(static=True, default="")
    sha256: str = eqx.field(static=True, default="")


class NebularGrid(eqx.Module):
    """Nebular emission per Msun of stars formed, on a grid of gas metallicity, ionisation and age.

    Attributes
    ----------
    neb_lgmet : log10 of the gas metal mass fraction.
    neb_logu : log10 ionisation parameter.
    neb_lg_age_gyr : log10 age of the ionising stars [Gyr].
    line_wave, line_lum, line_name : vacuum/air as listed by Cloudy [Angstrom]; [Lsun/Msun].
    cont_wave, cont_flux : nebular continuum [Angstrom], [Lsun/Hz/Msun].
    source, sha256 : where the grid came from.
    """

    neb_lgmet: Float[Arr, "met"]
    neb_logu: Float[Arr, "logu"]
    neb_lg_age_gyr: Float[Arr, "age"]
    line_wave: Float[Arr, "line"]
    line_lum: Float[Arr, "met logu age line"]
    cont_wave: Float[Arr, "wave"]
    cont_flux: Float[Arr, "met logu age wave"]
    line_name: tuple[str, ...] = eqx.field(static=True, default=())
    source: str = eqx.field(static=True, default="")
    sha256: str = eqx.field(static=True, default="")


class Filters(eqx.Module):
    """Photon-counting filter curves, one pair of arrays a band.

    Attributes
    ----------
    wave : wavelengths of each curve [Angstrom].
    trans : its transmissions there, dimensionless.
    names : full name of each curve.
    """

    wave: tuple[Float[Arr, "_"], ...]
    trans: tuple[Float[Arr, "_"], ...]
    names: tuple[str, ...] = eqx.field(static=True)


class Halos(eqx.Module):
    """A weighted lightcone slice of centrals and satellites with the random numbers of their galaxies.

    Attributes
    ----------
    z_obs, t_obs : redshift, and cosmic time of observation [Gyr].
    mah_params : diffmah parameters, one array a field.
    logmp0 : log10 of today's peak halo mass [Msun].
    is_central : 1 for centrals, 0 for satellites.
    lgmu_infall, logmhost_infall, gyr_since_infall : subhalo-to-host mass ratio and host mass at infall
        (log10), time since infall [Gyr]; for centrals diffstarpop's conventions (0, 0, -100).
    weight : number of such halos in the slice, up to one constant.
    normals : standard normal numbers, one column a random quantity of the galaxy (common random numbers).
    """

    z_obs: Float[Arr, "halo"]
    t_obs: Float[Arr, "halo"]
    mah_params: DiffmahParams
    logmp0: Float[Arr, "halo"]
    is_central: Float[Arr, "halo"]
    lgmu_infall: Float[Arr, "halo"]
    logmhost_infall: Float[Arr, "halo"]
    gyr_since_infall: Float[Arr, "halo"]
    weight: Float[Arr, "halo"]
    normals: Float[Arr, "halo normal"]


class Galaxies(eqx.Module):
    """Weighted model galaxies of one slice: each halo's main-sequence branch, then its quenched branch.

    Attributes
    ----------
    mag : apparent AB magnitudes as the survey would measure them, with the noise that is drawn.
    weight : halo weight x branch probability x selection probability.
    weight_all : the same without the selection.
    lg_mstar : log10 stellar mass formed and surviving [Msun].
    lg_ssfr : log10 specific star formation rate of the smooth history [1/yr].
    lg_ssfr_now : the same with the fluctuation that the median galaxy has now.
    mag_true : the magnitudes without noise.
    lgmet : log10 of the stars' mass fraction in metals.
    av : attenuation of obscured light [mag].
    """

    mag: Float[Array, "point band"]
    weight: Float[Array, "point"]
    weight_all: Float[Array, "point"]
    lg_mstar: Float[Array, "point"]
    lg_ssfr: Float[Array, "point"]
    lg_ssfr_now: Float[Array, "point"]
    mag_true: Float[Array, "point band"]
    lgmet: Float[Array, "point"]
    av: Float[Array, "point"]
