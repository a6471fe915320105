"""Columns of a simulation have to agree with each other: units and marks that no mass function shows."""

import dataclasses

import numpy as np
import pytest
from halo_boxes import TableReader, make_box, table_of

from popinfer.cosmology import PLANCK15, comoving_distance
from popinfer.errors import InputError
from popinfer.halos.completed import complete_halos
from popinfer.halos.geometry import Geometry
from popinfer.halos.lightcone import hosts_of_satellites
from popinfer.halos.sample import SampleSpec, checked_chunks, read_sample
from popinfer.halos.table import DISTINCT, HaloHeader, join_tables
from popinfer.random import root_key

SIDE, SLICE = 80.0, (0.06, 0.09)
SPEC = SampleSpec((SLICE,), Geometry("box", SIDE, redshifts=(0.075,)), (11.2,))
HEADER = HaloHeader("box", "table", PLANCK15, SIDE)


@pytest.fixture(scope="module")
def box():
    return make_box(1, SIDE)


@pytest.fixture(scope="module")
def table(box):
    return table_of(box)


@pytest.fixture(scope="module")
def sample(table):
    return read(table)


def read(table, header=HEADER, **changed):
    """Halos of a table, which is given in chunks."""
    return read_sample(root_key(1), TableReader(table, header), dataclasses.replace(SPEC, **changed))


def with_mah(table, **changed):
    """The table with other diffmah parameters."""
    return dataclasses.replace(table, mah_params=table.mah_params._replace(**changed))


H = np.log10(PLANCK15.h)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # a mass function of the masses says nothing of the histories that galaxies are made of
        (lambda t: with_mah(t, logm0=t.mah_params.logm0 + H), r"by 0\.17 dex \(-0\.17 .*looks like Msun/h"),
        (lambda t: with_mah(t, logm0=t.mah_params.logm0 - H), r"\(\+0\.17 in the median.*looks like Msun/h"),
        (lambda t: with_mah(t, logm0=10**t.mah_params.logm0), "logm0 looks like a mass in place"),
        (lambda t: with_mah(t, logm0=t.mah_params.logm0[::-1].copy()), "look like those of other halos"),
        (lambda t: with_mah(t, t_peak=np.full(len(t), 0.9)), "t_peak is 0.9 at most, .* cosmic time in Gyr"),
        (
            lambda t: dataclasses.replace(t, t_infall=t.t_infall / 14),
            "t_infall is 0.9[0-9]* at most, which looks like scale factors",
        ),
        (
            lambda t: dataclasses.replace(t, p_merge=np.where(t.is_central, 0.0, np.nan)),
            "p_merge is nan of halo",
        ),
        (lambda t: dataclasses.replace(t, p_merge=np.full(len(t), 40.0)), "p_merge is 40 of halo"),
        (
            lambda t: dataclasses.replace(t, half_mass_scale=np.full(len(t), 1.2)),
            "half_mass_scale is up to 1.2",
        ),
        (lambda t: dataclasses.replace(t, halo_id=-t.halo_id), "names have to be whole numbers from 0"),
        (
            lambda t: dataclasses.replace(t, z=np.linspace(0.07, 0.08, len(t))),
            "different redshifts, from 0.07 .*that of the snapshot",
        ),
        (
            lambda t: dataclasses.replace(t, z=np.full(len(t), 0.1)),
            "geometry.redshift: is 0.075, and halos of box are at z = 0.1",
        ),
    ],
)
def test_columns_that_contradict_each_other_are_refused(table, change, message):
    with pytest.raises(InputError, match=message):
        read(change(table))


def test_histories_that_are_not_used_may_be_anything(table):
    wrong = with_mah(table, logm0=table.mah_params.logm0 + 1)
    assert read(wrong, histories="drawn").pools[0].halos.tally.given == 0


@pytest.mark.parametrize("mark", [0.0, -1.0, -99.0])
def test_marks_of_what_is_missing_are_no_values(table, mark):
    """Files have numbers where they have no fit, or no infall."""
    rng = np.random.default_rng(1)
    some = rng.random(len(table)) < 0.05
    marked = with_mah(table, logm0=np.where(some, mark, table.mah_params.logm0))
    infall = {
        name: np.where(some, mark, getattr(table, name))
        for name in ("lgm_infall", "lgmhost_infall", "t_infall")
    }
    result = read(dataclasses.replace(marked, **infall)).pools[0].halos
    kept = np.isin(result.table.halo_id, table.halo_id[some])
    satellite = ~result.table.is_central
    assert result.tally.drawn == kept.sum() > 20
    assert result.tally.infall_known == (satellite & ~kept).sum()
    # what was missing is drawn, and is like the rest
    there, here = (result.gyr_since_infall[satellite & rows] for rows in (~kept, kept))
    assert np.median(here) == pytest.approx(np.median(there), abs=1.5)
    assert (result.lgmu_infall[satellite] > -5).all()
    assert (result.table.mah_params.logm0 > 9).all()


def test_a_file_without_hosts_says_so(table, sample):
    alone = table.take(table.is_central)
    header = dataclasses.replace(HEADER, claims_satellites=False)
    assert any("doesn't say which halos are satellites" in text for text in read(alone, header).warnings)
    assert not any("satellites" in text for text in sample.warnings)


def test_merged_satellites_are_said(table):
    merging = dataclasses.replace(table, p_merge=np.where(table.is_central, 0.0, 0.25))
    assert "25 % of the satellites count as merged (p_merge), the rest as galaxies" in read(merging).notes


def test_a_cut_above_the_mass_functions_range_moves_the_comparison(table):
    """Halos of a coarse simulation, of which those of 10^12 Msun are cut away, are still right."""
    coarse = read(table, lgm_min=(12.4,))
    assert coarse.pools[0].ratio.limits == (12.4, 13.0)
    assert coarse.pools[0].ratio.ratio == pytest.approx(1, abs=0.2)
    off = dataclasses.replace(table, lg_mass=table.lg_mass - 0.35)
    nan = np.full(len(table), np.nan)
    with pytest.raises(InputError, match=r"halos of 10\^12\.4 to 10\^13 Msun are 0\.\d+ times as frequent"):
        read(with_mah(off, logm0=nan), lgm_min=(12.4,))


def test_hosts_are_the_outermost(table):
    """A column of immediate hosts (pid), of satellites in satellites, in chunks that don't hold both."""
    satellites, halo_id = np.flatnonzero(~table.is_central), table.halo_id
    inner, outer = satellites[::4], satellites[1::4][: len(satellites[::4])]
    inner = inner[: len(outer)]
    host_id = table.host_id.copy()
    host_id[inner] = halo_id[outer]
    nested = dataclasses.replace(table, host_id=host_id)
    result = read(nested).pools[0].halos.table
    row = {name: i for i, name in enumerate(result.halo_id.tolist())}
    mass = dict(zip(halo_id.tolist(), table.lg_mass.tolist(), strict=True))
    for i, j in zip(inner[:200], outer, strict=False):
        here = row[int(halo_id[i])]
        assert result.host_id[here] == table.host_id[j]
        assert result.lg_host[here] == mass[int(table.host_id[j])]


def test_two_snapshots_with_the_same_names(table):
    """A slice takes the nearest snapshot, and a satellite its host's mass there."""
    early = dataclasses.replace(
        table,
        z=np.full(len(table), 0.18),
        lg_mass=table.lg_mass - 0.1,
        mah_params=table.mah_params._replace(logm0=np.full(len(table), np.nan)),
        t_infall=np.full(len(table), np.nan),
    )
    both = join_tables([table, early]).take(np.random.default_rng(1).permutation(2 * len(table)))
    slices = (SLICE, (0.17, 0.19))
    geometry = Geometry("box", SIDE, redshifts=(0.075, 0.18))
    result = read(both, slices=slices, geometry=geometry, lgm_min=(11.2, 11.2))
    mass = dict(zip(table.halo_id.tolist(), table.lg_mass.tolist(), strict=True))
    for pool, z, shift in zip(result.pools, (0.075, 0.18), (0.0, -0.1), strict=True):
        halos = pool.halos.table
        assert (halos.z == z).all()
        satellite = np.flatnonzero(~halos.is_central)
        expected = [mass[int(host)] + shift for host in halos.host_id[satellite]]
        np.testing.assert_allclose(halos.lg_host[satellite], expected)


def test_a_lightcone_whose_observer_is_elsewhere_is_a_warning(table):
    rng = np.random.default_rng(1)
    z = rng.uniform(*SLICE, len(table))
    direction = rng.normal(size=(len(table), 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    distance = np.asarray(comoving_distance(PLANCK15, z))
    cone = dataclasses.replace(table, z=z, position=direction * distance[:, None])
    volume = 4 / 3 * np.pi * np.diff(np.asarray(comoving_distance(PLANCK15, np.array(SLICE))) ** 3)[0]
    area = SIDE**3 / volume * 129600 / np.pi
    header = dataclasses.replace(HEADER, side=None)
    geometry = Geometry("lightcone", area_deg2=area)
    right = read(cone, header, geometry=geometry).warnings
    assert not any("from the origin" in text for text in right)
    wrong = read(dataclasses.replace(cone, position=0.7 * cone.position), header, geometry=geometry).warnings
    assert any("positions are 0.7 times as far from the origin" in text for text in wrong)


def test_what_is_drawn_for_a_halo_is_its_own_whatever_is_read_with_it(table):
    """Hosts of satellites that name none, on a lightcone whose chunks have other redshifts and masses."""
    z = np.linspace(0.05, 0.4, len(table))
    nan = np.full(len(table), np.nan)
    alone = dataclasses.replace(
        table, z=z, host_id=np.where(table.is_central, DISTINCT, 99), lgmhost_infall=nan, t_infall=nan
    )
    rows = np.flatnonzero(~alone.is_central)
    whole = complete_halos(root_key(1), alone, PLANCK15)
    parts = [complete_halos(root_key(1), alone.take(part), PLANCK15) for part in np.array_split(rows, 3)]
    together = np.concatenate([part.logmhost_infall for part in parts])
    np.testing.assert_array_equal(together, whole.logmhost_infall[rows])


def test_drawn_hosts_outweigh_their_satellites():
    lgm = np.linspace(10, 13, 300)
    hosts = hosts_of_satellites(np.full(300, 0.5), lgm, np.full(300, 0.1))
    assert (hosts > lgm).all() and (np.diff(hosts) > -0.1).all()


def test_chunks_of_a_file_that_was_checked_have_hosts(table):
    (first, *_) = checked_chunks(TableReader(table, HEADER), HEADER, SPEC, len(table))
    assert np.isfinite(first.lg_host[~first.is_central]).all()
