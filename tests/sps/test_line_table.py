"""Line luminosities from tables at lookback nodes against those of weights at SSP ages."""

import jax.numpy as jnp
import numpy as np
import pytest

from popinfer.cosmology import PLANCK15, age
from popinfer.data import load_nebular, load_ssp
from popinfer.errors import InputError
from popinfer.sps import age_weights, line_luminosities, lookback_fractions
from popinfer.sps.light_table import Gas
from popinfer.sps.line_table import LineTable, line_label
from popinfer.sps.metallicity import lgmet_weights

LABELS = ("H1_6562.80A", "O3_5006.84A", "N2_6583.45A")
Z = np.array([0.05, 0.1])


@pytest.fixture(scope="module")
def sources():
    return load_ssp(), load_nebular()


@pytest.fixture(scope="module")
def table(sources):
    return LineTable.build(*sources, LABELS, Z, lookback_fractions(), PLANCK15)


@pytest.mark.parametrize(
    ("logu", "offset", "f_esc", "z"),
    [(-2.5, 0.0, 0.0, 0.05), (-3.2, 0.0, 0.3, 0.1), (-3.0, 0.25, 0.0, 0.05)],
)
def test_lines_are_those_of_fine_histories(sources, table, logu, offset, f_esc, z):
    ssp, grid = sources
    t_obs = float(age(PLANCK15, z))
    t = np.linspace(1e-3, t_obs, 4000)

    def history(t):
        return 3.0 * np.exp(-0.5 * ((t - 9.0) / 3.0) ** 2)

    lgmet = -1.9
    if offset:  # gas of one metallicity is compared with stars of one
        lgmet = float(ssp.ssp_lgmet[3])
        shares = jnp.eye(len(ssp.ssp_lgmet))[3]
    else:
        shares = lgmet_weights(lgmet, 0.2, jnp.asarray(ssp.ssp_lgmet))
    by_age = age_weights(jnp.asarray(t), jnp.asarray(history(t)), t_obs, ssp.ssp_lg_age_gyr)
    gas_lgmet = lgmet + offset if offset else None
    expected = line_luminosities(ssp, grid, shares[:, None] * by_age, logu, gas_lgmet, f_esc)
    names = [line_label(name) for name in grid.line_name]
    sfr = history(t_obs * (1 - lookback_fractions()))
    lum = table(Gas(logu, offset, f_esc), jnp.asarray(sfr)[None], shares[None], jnp.asarray([z]))
    columns = [names.index(label) for label in LABELS]
    np.testing.assert_allclose(lum[0], np.asarray(expected)[columns], rtol=2e-3)
    assert lum[0, 0] > 1e6  # H alpha of a solar mass a year: some 10^41 erg/s or 3e7 Lsun


def test_all_lines_or_those_that_are_known(sources):
    everything = LineTable.build(*sources, (), Z, lookback_fractions(), PLANCK15)
    assert len(everything.labels) == len(set(everything.labels)) == 96
    with pytest.raises(InputError, match=r"no line is called 'Halpha'; there are H1_1215\.67A"):
        LineTable.build(*sources, ("Halpha",), Z, lookback_fractions(), PLANCK15)
