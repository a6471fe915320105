import numpy as np
import pytest
import synthetic
import xarray as xr

from popinfer.inference_data import from_groups
from popinfer.report.learned import learned_of
from popinfer.report.literature import moster13_lg_mstar
from popinfer.report.relations import POINTS, tabulate_relations


def test_a_relation_that_is_published_differs_by_nothing():
    lgmh, z = np.linspace(11, 13.2, 45), 0.1
    drawn = moster13_lg_mstar(lgmh, z) + np.linspace(-0.1, 0.1, 101)[:, None]
    relations = xr.Dataset({"smhm": (("draw", "lgmh"), drawn, {"z": z})}, coords={"lgmh": lgmh})
    rows = tabulate_relations(from_groups({"derived": relations}))
    assert tuple(row.x for row in rows) == POINTS["smhm"]
    assert [np.isfinite(row.median) for row in rows] == [True] * 4 + [False] * 2  # it ends at 13.2
    for row in rows[:4]:
        assert dict(row.differences)["Moster+13"] == pytest.approx(0, abs=0.01)
        assert row.high - row.low == pytest.approx(0.136, abs=0.003)


def test_every_stored_relation_has_rows_with_published_numbers():
    rows = tabulate_relations(synthetic.run())
    assert {row.name for row in rows} == {"smhm", "quenched_fraction", "lg_ssfr", "csfrd"}
    assert all(row.published for row in rows)
    labels = {label for row in rows if row.name == "csfrd" and row.x == 3.0 for label, _ in row.published}
    assert labels == {"Madau & Dickinson 14", "Cucciati+12", "Gruppioni+13", "Enia+22"}
    assert {label for row in rows if row.name == "lg_ssfr" for label, _ in row.published} == {"Bauer+13"}


def test_relations_that_nothing_moves_were_not_learnt():
    relations = synthetic.run()["derived"]
    relations["smhm"] = relations["smhm"].isel(draw=[0] * relations.sizes["draw"])
    learned = learned_of((), tabulate_relations(from_groups({"derived": relations})))
    assert learned.held == ("stellar mass at fixed halo mass",)
    assert len(learned.relations) == 3 and not any("Central galaxies" in one for one in learned.relations)


def test_without_relations_there_are_no_rows():
    assert tabulate_relations(synthetic.chains()) == []
