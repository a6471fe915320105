"""Draws in ArviZ and pandas, and back."""

import numpy as np
import pytest

from popinfer.errors import InputError
from popinfer.infer.draw_tables import draw_vectors, draws_table, to_inference_data
from popinfer.params import FreeParam, ParamSpace, Prior

PRIORS = {
    "a.normal": Prior("normal", 0.3, 2.0),
    "a.lognormal": Prior("lognormal", 0.3, 0.2),
    "a.uniform": Prior("uniform", low=-1.0, high=4.0),
    "a.truncated": Prior("truncnormal", 0.1, 0.2, 0.0, 1.0),
}
SPACE = ParamSpace(tuple(FreeParam(name, prior, "mag", "words") for name, prior in PRIORS.items()))


@pytest.fixture
def u():
    return np.random.default_rng(1).standard_normal((2, 50, 4))


def test_there_and_back(u):
    idata = to_inference_data(SPACE, u, {"lp": u[..., 0]})
    table = draws_table(idata)
    assert list(table.columns) == list(PRIORS)
    assert table.index.names == ["chain", "draw"]
    assert table.loc[(1, 3), "a.normal"] == pytest.approx(0.3 + 2 * u[1, 3, 0])
    for draws in (idata, table, table.reset_index(drop=True)):
        np.testing.assert_allclose(draw_vectors(SPACE, draws), u.reshape(-1, 4), atol=1e-9)
    np.testing.assert_array_equal(idata["sample_stats"]["lp"], u[..., 0])
    assert idata["posterior"]["a.uniform"].attrs == {"unit": "mag", "meaning": "words"}


def test_draws_at_the_end_of_a_prior_stay_finite(u):
    u[0, 0] = 0.0, 0.0, 12.0, -12.0
    back = draw_vectors(SPACE, to_inference_data(SPACE, u))
    assert np.isfinite(back).all()
    assert back[0, 2] > 5


def test_what_is_missing_is_named(u):
    idata = to_inference_data(SPACE, u)
    with pytest.raises(InputError, match=r"no draws of a\.normal, a\.uniform"):
        draw_vectors(SPACE, draws_table(idata)[["a.lognormal", "a.truncated"]])
    with pytest.raises(InputError, match="no group 'prior'"):
        draws_table(idata, "prior")
    outside = draws_table(idata).assign(**{"a.uniform": 5.0})
    with pytest.raises(InputError, match="outside its prior"):
        draw_vectors(SPACE, outside)
