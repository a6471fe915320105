"""Gradients of every route from parameters to light, against central finite differences in float64.

Each case is a scalar function of a pytree; every number of that pytree has to move it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffmah.diffmah_kernels import DEFAULT_MAH_PARAMS
from diffstar import DEFAULT_DIFFSTAR_PARAMS
from jax.flatten_util import ravel_pytree

from popinfer.cosmology import PLANCK15
from popinfer.records import Filters
from popinfer.sps import (
    Attenuation,
    BandTable,
    BurstParams,
    Calzetti00,
    Cardelli89,
    CharlotFall00,
    KriekConroy13,
    Noll09,
    Salim18,
    Stars,
    add_burst,
    add_nebular,
    attenuated_sed,
    band_fluxes,
    equivalent_widths,
    lgmet_from_slope,
    lgmet_from_table,
    lgmet_weights,
    line_luminosities,
    population_magnitudes,
    population_seds,
    remnant_mass,
    rest_sed,
    smooth_sfh_fluxes,
    surviving_mass,
    tabulate_sfh,
)

T = np.linspace(0.05, 13.8, 40)
SFR = np.stack([3 * T * np.exp(-T / 2), 1 + T]) + 0.3 * np.sin(7 * T) ** 2
N, Z, T_OBS = 2, 0.1213, 12.137
BORN = T < 12.0
CASES = {}


def case(make):
    """Register a function that gets the data and gives (loss, parameters)."""
    CASES[make.__name__] = make
    return make


def mix(x):
    """One number that every element of an array moves."""
    return jnp.sum(jnp.cos(jnp.arange(x.size).reshape(x.shape)) * x)


def each(*values):
    """Two galaxies' values."""
    return [jnp.array([v, v + 0.07]) for v in values]


class Data:
    """What the cases share: SSPs, filters, tables."""

    def __init__(self, ssp, nebular, sdss):
        self.ssp, self.nebular = ssp, nebular
        self.blue = Filters(sdss.wave[:2], sdss.trans[:2], sdss.names[:2])
        self.table = BandTable.build(ssp, sdss, np.array([0.11, 0.12, 0.13]), n_sub=2)
        self.smooth = self.table.for_smooth_sfh(PLANCK15, 24)
        self.mass = jnp.asarray(np.random.default_rng(0).uniform(1e8, 2e8, ssp.ssp_lg_age_gyr.size))
        self.weights = lgmet_weights(-1.8, 0.2, ssp.ssp_lgmet)[:, None] * self.mass


@pytest.fixture(scope="module")
def data(ssp, nebular, sdss):
    return Data(ssp, nebular, sdss)


@case
def own_redshifts(d):
    def loss(p):
        stars = Stars(T[BORN], p["sfr"], p["lgmet"], p["scatter"], BurstParams(*p["burst"]))
        dust = Attenuation(Salim18(), Salim18.Params(p["delta"]), p["av"], p["f"])
        return mix(population_magnitudes(d.table, stars, dust, p["z"], p["t_obs"], p["distance"]))

    names = ("lgmet", "av", "delta", "f", "distance")
    params = dict(zip(names, each(-1.8, 0.8, -0.3, 0.1, 38.0), strict=True))
    params |= {"sfr": jnp.asarray(SFR[:, BORN]), "scatter": jnp.asarray(0.2), "burst": each(-2.0, 6.9, 8.3)}
    return loss, params | {"z": jnp.array([0.1137, 0.1213]), "t_obs": jnp.array([12.137, 12.04])}


def one_redshift(d, dust=None, stars=None):
    stars = Stars(T, SFR, np.full(N, -1.8), 0.2) if stars is None else stars
    return mix(population_magnitudes(d.table, stars, dust, Z, T_OBS))


@case
def bursts(d):
    def loss(p):
        return one_redshift(d, stars=Stars(T, SFR, np.full(N, -1.8), 0.2, BurstParams(*p)))

    return loss, each(-2.0, 6.9, 8.3)


@case
def burst_of_one_galaxy(d):
    return lambda p: mix(add_burst(BurstParams(*p[:3]), p[3], d.ssp.ssp_lg_age_gyr)) * 1e-9, [
        *(jnp.asarray(v) for v in (-2.0, 6.9, 8.3)),
        d.mass,
    ]


@case
def metallicity_by_slope(d):
    def loss(p):
        one = jax.vmap(lambda m, s, pivot: lgmet_from_slope(m, s, d.ssp.ssp_lg_age_gyr, pivot))
        return one_redshift(d, stars=Stars(T, SFR, one(*p[:3]), p[3]))

    return loss, [*each(-1.7, 0.4, 1.5), jnp.asarray(0.2)]


@case
def metallicity_by_table(d):
    def loss(p):
        lgmet = lgmet_from_table(T[BORN][::5], p["table"], p["t_obs"], d.ssp.ssp_lg_age_gyr)
        return one_redshift(d, stars=Stars(T, SFR, jnp.tile(lgmet, (N, 1)), 0.2))

    return loss, {"table": jnp.asarray(-2.6 + 0.06 * T[BORN][::5]), "t_obs": jnp.asarray(T_OBS)}


def behind(law, *values):
    def make(d):
        def loss(p):
            return one_redshift(d, Attenuation(law, type(law.fiducial)(*p[1:]), p[0], 0.1))

        return loss, [*each(0.8), *values]

    CASES[f"behind_{type(law).__name__}"] = make


behind(Calzetti00())
behind(Noll09(), *each(-0.3, 2.0))
behind(KriekConroy13(), *each(-0.3))
behind(Cardelli89(), *each(3.1))
behind(CharlotFall00(), *each(-0.7, -0.9, 2.0), jnp.asarray(-2.013))


@case
def full_sed_behind_clouds(d):
    def loss(p):
        sed = attenuated_sed(d.ssp, d.weights, CharlotFall00(), CharlotFall00.Params(*p[:4]), *p[4:])
        return mix(jnp.log(sed[200:900:20]))

    return loss, [jnp.asarray(v) for v in (-0.7, -0.9, 2.0, -2.013, 0.8, 0.1)]


@case
def spectra_of_a_population(d):
    def loss(p):
        stars = Stars(T, SFR * p["scale"][:, None], p["lgmet"], p["scatter"], BurstParams(*p["burst"]))
        dust = Attenuation(Noll09(), Noll09.Params(*p["shape"]), p["av"], 0.0)
        return mix(jnp.log(population_seds(d.ssp, stars, dust, p["t_obs"])[:, 200:900:20]))

    names = ("scale", "lgmet", "av")
    rest = dict(zip(names, each(1.0, -1.8, 0.8), strict=True))
    one = {"scatter": jnp.asarray(0.2), "t_obs": jnp.asarray(T_OBS)}
    return loss, rest | one | {"burst": each(-2.0, 6.9, 8.3), "shape": each(-0.3, 2.0)}


@case
def rest_frame_sed(d):
    def loss(p):
        shares = lgmet_weights(p[0], p[1], d.ssp.ssp_lgmet)
        return mix(jnp.log(rest_sed(d.ssp, p[2] * 1e8, shares)[200:900:20]))

    return loss, [jnp.asarray(-1.8), jnp.asarray(0.2), d.mass / 1e8]


@case
def smooth_histories(d):
    def loss(p):
        flux = smooth_sfh_fluxes(d.smooth, p["sfr"], p["shares"], p["z"])
        return mix(jnp.log(d.smooth.to_bands(flux)))

    sfr = jnp.asarray(np.random.default_rng(1).uniform(1, 2, (N, d.smooth.fractions.size)))
    shares = jnp.stack([lgmet_weights(m, 0.3, d.ssp.ssp_lgmet) for m in (-1.8, -2.1)])
    return loss, {"sfr": sfr, "shares": shares, "z": jnp.array([0.1137, 0.1213])}


@case
def masses(d):
    def loss(p):
        weights = lgmet_weights(p[0], 0.2, d.ssp.ssp_lgmet)[:, None] * p[1]
        return surviving_mass(d.ssp, weights) + 0.3 * remnant_mass(d.ssp, weights)

    return loss, [jnp.asarray(-1.8), d.mass / 1e8]


@case
def nebular_magnitudes(d):
    def loss(p):
        gas = add_nebular(d.ssp, d.nebular, *p)
        return mix(jnp.log(band_fluxes(d.ssp.ssp_wave, rest_sed(gas, d.mass, d.weights[:, 0]), d.blue, 0.1)))

    return loss, [jnp.asarray(v) for v in (-2.8, -1.85, 0.2)]


@case
def nebular_equivalent_widths(d):
    def loss(p):
        dry = add_nebular(d.ssp, d.nebular, *p, with_lines=False)
        lines = line_luminosities(d.ssp, d.nebular, d.weights, *p)
        sed = rest_sed(dry, d.mass, d.weights[:, 0])
        return mix(jnp.log(equivalent_widths(d.nebular.line_wave, lines, d.ssp.ssp_wave, sed)[10:60]))

    return loss, [jnp.asarray(v) for v in (-2.8, -1.85, 0.2)]


@case
def redshift_with_intergalactic_medium(d):
    sed = rest_sed(d.ssp, d.mass, d.weights[:, 0])
    return lambda z: mix(jnp.log(band_fluxes(d.ssp.ssp_wave, sed, d.blue, z[0]))), jnp.array([2.5137])


@case
def halos_and_galaxies(d):
    """The five numbers of diffmah and the eight of diffstar."""

    def loss(p):
        mah, sfh = (jax.tree.map(lambda x: x[None], part) for part in p)
        rates = tabulate_sfh(mah, sfh, T, PLANCK15)
        return one_redshift(d, stars=Stars(T, rates, np.full(1, -1.8), 0.2))

    growing = DEFAULT_MAH_PARAMS._replace(t_peak=9.0)  # by default after the time of observation
    params = jax.tree.map(jnp.asarray, (growing, DEFAULT_DIFFSTAR_PARAMS))
    assert ravel_pytree(params)[0].size == 13
    return loss, params


@pytest.mark.parametrize("name", CASES)
def test_gradients(data, name):
    loss, params = CASES[name](data)
    flat, unravel = ravel_pytree(params)

    def of_vector(x):
        return loss(unravel(x))

    got = jax.jit(jax.grad(of_vector))(flat)
    value = jax.jit(of_vector)
    step = 1e-5
    some = np.unique(np.linspace(0, flat.size - 1, 24).astype(int))
    units = np.eye(flat.size)[some]
    want = np.array([(value(flat + step * e) - value(flat - step * e)) / (2 * step) for e in units])
    scale = np.abs(want).max()
    np.testing.assert_allclose(np.asarray(got)[some], want, rtol=2e-5, atol=2e-7 * scale)
    assert np.all(want != 0) and np.all(np.isfinite(got))
