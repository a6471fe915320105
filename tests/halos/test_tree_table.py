"""Merger trees in plain tables, of which everything is known: those of `halo_texts`, and some more."""

import numpy as np
import pandas as pd
import pytest
from halo_texts import COSMOLOGY, HOST, SATELLITE, SCALES

from popinfer.cosmology import age
from popinfer.errors import InputError
from popinfer.halos.formats import open_halos
from popinfer.halos.table import Asked, join_tables

COLUMNS = {
    "id": "haloId",
    "descendant": "descendantId",
    "host": "firstHaloInFOFgroupId",
    "tree": "treeId",
    "mass": "m_crit200",
    "redshift": "redshift",
    **{axis: axis for axis in "xyz"},
}


def nodes(tree: int = 0) -> pd.DataFrame:
    """A host of 100 and its satellite of 200 since the last but one step; its mass is zero there."""
    n, rows = len(SCALES), []
    for name, masses, since in ((100, HOST, n), (200, SATELLITE, 3)):
        for step, mass in enumerate(masses):
            inside = step >= since
            rows.append(
                {
                    "haloId": 1000 * tree + name + step,
                    "descendantId": 1000 * tree + name + step + 1 if step < n - 1 else -1,
                    "firstHaloInFOFgroupId": 1000 * tree + (100 if inside else name) + step,
                    "treeId": tree,
                    "m_crit200": 0.0 if inside else mass / 1e10,
                    "redshift": 1 / SCALES[step] - 1,
                    **dict(zip("xyz", (7.0, 14.0, 21.0), strict=True)),
                }
            )
    return pd.DataFrame(rows)


def reader(path, **changed):
    columns = {**COLUMNS, **changed}
    said = tuple((quantity, name) for quantity, name in columns.items() if name)
    return open_halos([str(path)], asked=Asked(said, "1e10 Msun/h", "Mpc/h", cosmology=COSMOLOGY))


def read(path, size=10**6, **changed):
    table = join_tables(list(reader(path, **changed).chunks(size)))
    return table.take(np.argsort(table.halo_id))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_millennium_table(tmp_path, suffix):
    path = tmp_path / f"halos{suffix}"
    frame = nodes().sample(frac=1, random_state=1)  # in no order
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    assert reader(path).header.format == "tree_table"
    table = read(path)
    assert table.halo_id.tolist() == [104, 204]
    assert table.host_id.tolist() == [-1, 104]
    host, satellite = np.array(HOST) / 0.7, np.array(SATELLITE) / 0.7
    np.testing.assert_allclose(10 ** table.branches.lg_mass[0], host)
    np.testing.assert_allclose(10 ** table.branches.lg_mass[1], [*satellite[:3], np.nan, np.nan])
    np.testing.assert_allclose(10**table.lg_mass, [host.max(), satellite[:3].max()])
    np.testing.assert_allclose(table.position, [[10, 20, 30]] * 2)
    # it was last on its own at the third step; the host's mass is that of the next
    assert table.t_infall[1] == pytest.approx(float(age(COSMOLOGY, 1 / SCALES[2] - 1)))
    assert 10 ** table.lgmhost_infall[1] == pytest.approx(host[3])


def test_the_most_massive_progenitor_is_the_main_one_unless_one_is_marked(tmp_path):
    path = tmp_path / "halos.parquet"
    other = {**nodes().iloc[3].to_dict(), "haloId": 500, "firstHaloInFOFgroupId": 500, "m_crit200": 2e3}
    frame = pd.concat([nodes(), pd.DataFrame([other])]).astype({"haloId": int, "descendantId": int})
    frame = frame.astype({"firstHaloInFOFgroupId": int, "treeId": int})
    frame["first"] = (frame["haloId"] != 500).astype(int)
    frame.to_parquet(path)
    assert 10 ** read(path).branches.lg_mass[0, 3] == pytest.approx(2e13 / 0.7)
    assert 10 ** read(path, main="first").branches.lg_mass[0, 3] == pytest.approx(HOST[3] / 0.7)
    # a progenitor without a mass is none
    frame.assign(m_crit200=np.where(frame["haloId"] == 500, 0.0, frame["m_crit200"])).to_parquet(path)
    assert 10 ** read(path).branches.lg_mass[0, 3] == pytest.approx(HOST[3] / 0.7)


def test_trees_are_read_some_at_a_time(tmp_path, monkeypatch):
    from popinfer.halos.formats import tree_table

    path = tmp_path / "halos.parquet"
    pd.concat([nodes(tree) for tree in range(6)]).to_parquet(path)
    monkeypatch.setattr(tree_table, "NODES_PER_HALO", 1)
    parts = list(reader(path).chunks(15))  # one and a half trees
    assert len(parts) > 2 and sum(map(len, parts)) == 12
    whole = read(path, tree="")
    np.testing.assert_array_equal(join_tables(parts).halo_id, whole.halo_id)
    np.testing.assert_array_equal(join_tables(parts).t_infall, whole.t_infall)
    shuffled = pd.concat([nodes(0), nodes(1), nodes(2), nodes(0)])
    shuffled.to_parquet(path)
    with pytest.raises(InputError, match="rows of tree 0 aren't together"):
        list(reader(path).chunks(5))


def test_halos_that_never_had_a_mass_are_left_out(tmp_path):
    path = tmp_path / "halos.parquet"
    frame = nodes()
    frame.loc[frame["haloId"] >= 200, "m_crit200"] = 0.0
    frame.to_parquet(path)
    assert read(path).halo_id.tolist() == [104]


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"redshift": ""}, "no column for redshift"), ({"mass": ""}, "no column for mass")],
)
def test_columns_that_are_needed(tmp_path, changed, message):
    path = tmp_path / "halos.parquet"
    nodes().to_parquet(path)
    with pytest.raises(InputError, match=message):
        read(path, **changed)
