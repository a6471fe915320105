"""A simulation as a source of halos: draws stand for what is in the box; what can't be is refused."""

import dataclasses

import numpy as np
import pytest
from halo_boxes import TableReader, make_box, table_of

from popinfer.cosmology import PLANCK15, age
from popinfer.errors import InputError
from popinfer.halos.checks import check_mass_function, mass_function_ratio
from popinfer.halos.geometry import Geometry, cells_of_box, cells_of_sky, snapshot_of
from popinfer.halos.lightcone import LightconeSpec
from popinfer.halos.reservoir import Reservoir
from popinfer.halos.sample import SampleSpec, read_sample
from popinfer.halos.source import HaloPart, LightconeSource
from popinfer.halos.table import HaloHeader
from popinfer.random import root_key

SIDE, SLICE = 80.0, (0.06, 0.09)
SPEC = SampleSpec((SLICE,), Geometry("box", SIDE, redshifts=(0.075,)), (11.2,))
HEADER = HaloHeader("box", "table", PLANCK15, SIDE)


def given(table, header=HEADER):
    """Halos of a table, in chunks."""
    return TableReader(table, header)


@pytest.fixture(scope="module")
def box():
    """Halos of diffhalos in a periodic box."""
    return make_box(1, SIDE)


@pytest.fixture(scope="module")
def sample(box):
    """The box, read."""
    return read_sample(root_key(1), given(table_of(box)), SPEC)


def weighted(halos, values):
    return float((np.asarray(halos.weight) * values).sum() / np.asarray(halos.weight).sum())


def test_batches_of_all_pieces_have_the_density_of_the_box(box, sample):
    n = 16
    spec = LightconeSpec(*SLICE, n_halo=256, lgm_min=11.2, n_normal=4)
    halos = sample.draw([root_key(i) for i in range(n)], [spec], [HaloPart(i, n) for i in range(n)])
    density = np.asarray(halos.weight)[:, 0].sum(axis=1)
    assert density.mean() == pytest.approx(len(box) / SIDE**3, rel=1e-6)
    assert halos.normals.shape == (n, 1, 256, 4)
    # each piece has what is in its sixteenth of the box
    cells = cells_of_box(box.columns[["x", "y", "z"]].to_numpy(), SIDE, n)
    np.testing.assert_allclose(density, np.bincount(cells, minlength=n) * n / SIDE**3, rtol=1e-6)


@pytest.mark.parametrize(
    "changed", [{}, {"flatten": 0.5}, {"independent": True}, {"detection": ((11.0, 13.0), (0.01, 1.0))}]
)
def test_weights_are_exact_whatever_is_drawn(box, sample, changed):
    spec = LightconeSpec(*SLICE, n_halo=1 << 14, lgm_min=11.2, n_normal=1, **changed)
    halos = sample.draw([root_key(3)], [spec])
    frame = box.columns
    total = np.asarray(halos.weight).sum() * SIDE**3
    assert total == pytest.approx(len(frame), rel=0.03)
    massive = np.asarray(halos.weight)[np.asarray(halos.mah_params.logm0) > 12.5].sum() * SIDE**3
    assert massive == pytest.approx((frame["logm0"] > 12.5).sum(), rel=0.08)
    satellites = np.asarray(halos.weight)[np.asarray(halos.is_central) < 0.5].sum() * SIDE**3
    assert satellites == pytest.approx((frame["upid"] >= 0).sum(), rel=0.05)


def test_halos_are_like_those_of_a_lightcone(sample):
    spec = LightconeSpec(*SLICE, n_halo=1 << 13, lgm_min=11.2, n_normal=1)
    ours, drawn = sample.draw([root_key(1)], [spec]), LightconeSource().draw([root_key(1)], [spec])
    for halos in (ours, drawn):
        assert np.asarray(halos.z_obs).min() >= SLICE[0]
    central = [
        np.where(np.asarray(halos.is_central) > 0.5, np.asarray(halos.weight), 0) for halos in (ours, drawn)
    ]
    assert central[0].sum() == pytest.approx(central[1].sum(), rel=0.1)  # cosmic variance of the box: Poisson
    means = [(w * np.asarray(h.logmp0)).sum() / w.sum() for w, h in zip(central, (ours, drawn), strict=True)]
    assert means[0] == pytest.approx(means[1], abs=0.02)
    assert np.ptp(np.asarray(ours.t_obs)) < 1e-6  # the snapshot's


def test_equal_keys_give_equal_halos(box, sample):
    spec = LightconeSpec(*SLICE, n_halo=64, lgm_min=11.2, n_normal=3)
    one, same, other = (sample.draw([root_key(i)], [spec]) for i in (1, 1, 2))
    assert np.array_equal(one.normals, same.normals)
    assert not np.array_equal(one.normals, other.normals)
    again = read_sample(root_key(1), given(table_of(box)), SPEC)
    assert np.array_equal(again.pools[0].halos.table.halo_id, sample.pools[0].halos.table.halo_id)


def test_satellites_know_their_hosts(box, sample):
    table = sample.pools[0].halos.table
    satellite = ~table.is_central
    assert np.isfinite(table.lg_host[satellite]).all()
    mass = box.columns.set_index("halo_id")["lg_mass"]
    np.testing.assert_allclose(table.lg_host[satellite], mass[table.host_id[satellite]])


def test_pieces_without_positions_keep_families_together(box):
    table = table_of(box, position=np.full((len(box), 3), np.nan))
    result = read_sample(root_key(1), given(table), SPEC)
    assert "random pieces" in result.pieces
    pool = result.pools[0]
    piece = dict(zip(pool.halos.table.halo_id.tolist(), pool.cells(16).tolist(), strict=True))
    for halo, host in zip(pool.halos.table.halo_id, pool.halos.table.host_id, strict=True):
        assert host not in piece or piece[halo] == piece[host]
    assert set(piece.values()) == set(range(16))


def test_an_empty_piece_counts_for_next_to_nothing(box):
    table = table_of(box)
    half = table.take(table.position[:, 0] < SIDE / 2)
    result = read_sample(root_key(1), given(half), dataclasses.replace(SPEC, ignore_mass_function=True))
    spec = LightconeSpec(*SLICE, n_halo=32, lgm_min=11.2, n_normal=1)
    halos = result.draw([root_key(i) for i in range(8)], [spec], [HaloPart(i, 8) for i in range(8)])
    density = np.asarray(halos.weight)[:, 0].sum(axis=1)
    assert (density > 0).all()
    assert (density < 1e-5 * density.max()).sum() == 4


def test_halos_in_a_corner_of_the_box_are_divided_at_random(box):
    """Forests of a large box: boxes within it would be empty, or have all halos."""
    table = table_of(box)
    corner = table.take((table.position < 0.45 * SIDE).all(axis=1))
    result = read_sample(root_key(1), given(corner), dataclasses.replace(SPEC, ignore_mass_function=True))
    assert "a small part of the box" in result.pieces
    assert len(np.unique(result.pools[0].cells(16))) == 16


def test_what_is_missing_is_drawn_and_counted(box):
    table = table_of(box)
    nan = np.full(len(table), np.nan)
    bare = dataclasses.replace(
        table,
        mah_params=table.mah_params._replace(logm0=nan),
        lgm_infall=nan,
        lgmhost_infall=nan,
        t_infall=nan,
    )
    result = read_sample(root_key(1), given(bare), SPEC)
    halos = result.pools[0].halos
    assert halos.tally.drawn == halos.tally.n
    assert halos.tally.infall_known == 0
    assert any("assembly bias is lost" in text for text in result.warnings)
    logt0 = float(np.log10(age(PLANCK15, 0.0)))
    from popinfer.halos.completed import log_mah

    np.testing.assert_allclose(
        log_mah(halos.table.mah_params, halos.t_obs, logt0), halos.table.lg_mass, atol=1e-4
    )
    satellite = ~halos.table.is_central
    assert (halos.gyr_since_infall[satellite] >= 0).all()
    assert (halos.lgmu_infall[satellite] <= 0).all()
    assert (halos.gyr_since_infall[~satellite] == -100).all()
    median = np.median(halos.gyr_since_infall[satellite])
    assert median == pytest.approx(np.median(box.z * 0 + 8.0), abs=2.0)  # of the flow: 9


def test_half_mass_times_choose_among_draws(box):
    table = table_of(box)
    bare = dataclasses.replace(table, mah_params=table.mah_params._replace(logm0=np.full(len(table), np.nan)))
    rng = np.random.default_rng(1)
    scale = rng.uniform(0.35, 0.75, len(table))
    result = read_sample(root_key(1), given(dataclasses.replace(bare, half_mass_scale=scale)), SPEC)
    halos, logt0 = result.pools[0].halos, float(np.log10(age(PLANCK15, 0.0)))
    from popinfer.halos.completed import log_mah

    t_half = np.asarray(age(PLANCK15, 1 / halos.table.half_mass_scale - 1))
    away = log_mah(halos.table.mah_params, t_half, logt0) - (halos.table.lg_mass - np.log10(2))
    without = read_sample(root_key(1), given(bare), SPEC).pools[0].halos
    np.testing.assert_array_equal(without.table.halo_id, halos.table.halo_id)
    usual = log_mah(without.table.mah_params, t_half, logt0) - (halos.table.lg_mass - np.log10(2))
    assert np.median(np.abs(away)) < 0.5 * np.median(np.abs(usual))


def test_merged_halos_count_less(box):
    table = table_of(box)
    p_merge = np.where(table.is_central, 0.0, 0.6)
    result = read_sample(root_key(1), given(dataclasses.replace(table, p_merge=p_merge)), SPEC)
    pool = result.pools[0]
    satellite = ~pool.halos.table.is_central
    assert pool.density[satellite].sum() * SIDE**3 == pytest.approx(0.4 * (~table.is_central).sum())


def test_the_reservoir_keeps_a_fair_sample_whatever_the_chunks(box):
    table = table_of(box)
    kept = []
    for size in (500, 10**6):
        reservoir = Reservoir(root_key(1), 40)
        for first in range(0, len(table), size):
            reservoir.add(table.take(np.arange(first, min(first + size, len(table)))))
        kept.append(reservoir.kept())
    few, many = (np.sort(result.table.halo_id) for result in kept)
    np.testing.assert_array_equal(few, many)
    assert kept[0].stands_for.sum() == pytest.approx(len(table))
    assert kept[0].n_read == len(table) > len(few)
    massive = kept[0].table.lg_mass > 12
    assert kept[0].stands_for[massive].sum() == pytest.approx((table.lg_mass > 12).sum(), rel=0.01)


def changed_row(values, row, value):
    values = np.array(values)
    values[row] = value
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {"lg_mass": changed_row(t.lg_mass, 3, np.nan)}, "have no mass"),
        (lambda t: {"lg_mass": changed_row(t.lg_mass, 3, 17.0)}, "more than any"),
        (lambda t: {"halo_id": changed_row(t.halo_id, 3, t.halo_id[4])}, "listed 2 times"),
        (lambda t: {"halo_id": changed_row(t.halo_id, 3, t.halo_id[-4])}, "listed 2 times"),
        (lambda t: {"host_id": np.full(len(t), -1)}, "all .* halos are centrals"),
        (lambda t: {"host_id": np.where(t.is_central, -1, 99)}, "name a host that isn't in the file"),
        (
            lambda t: {"mah_params": t.mah_params._replace(t_peak=t.mah_params.t_peak * 1000)},
            "later than today",
        ),
        (lambda t: {"t_infall": np.where(t.is_central, np.nan, 13.5)}, "fall in after they are observed"),
        (lambda t: {"position": 1.5 * t.position}, "positions span"),
        (lambda t: {"lg_mass": t.lg_mass - 0.2}, "masses look like Msun/h taken as Msun"),
        (lambda t: {"lg_mass": t.lg_mass + 0.19}, "taken as Msun/h"),
        (
            lambda t: {"z": np.full(len(t), 0.3), "t_infall": np.full(len(t), np.nan)},
            "redshift: is 0.075, and halos of box are at z = 0.3",
        ),
        (lambda t: {"z": np.where(np.arange(len(t)) % 2, 0.075, np.nan)}, "have no redshift"),
    ],
)
def test_refusals(box, change, message):
    table = table_of(box)
    with pytest.raises(InputError, match=message):
        read_sample(root_key(1), given(dataclasses.replace(table, **change(table))), SPEC)


@pytest.mark.parametrize(
    ("spec", "header", "message"),
    [
        ({"lgm_min": (14.9,)}, {}, "has 10\\^14.9 Msun or more|16"),
        ({"lgm_min": (13.8,)}, {}, "at least 16"),
        ({"geometry": Geometry("box", redshifts=(0.075,))}, {"side": None}, "side_mpc: is missing"),
        ({"geometry": Geometry("lightcone")}, {}, "area_deg2: is missing"),
        (
            {"geometry": Geometry("lightcone", area_deg2=10.0)},
            {"is_lightcone": False},
            "says that it is a box",
        ),
        ({"geometry": Geometry("box", SIDE / 0.7)}, {"side": None}, "times as frequent"),
        ({"geometry": Geometry("box", SIDE / 0.7)}, {}, "side_mpc: is 114.286, and box has a box of 80 Mpc"),
        ({"geometry": Geometry("box", SIDE, redshifts=(0.5,))}, {"redshifts": (0.075,)}, "no snapshot"),
        ({"slices": ((0.02, 0.14),)}, {}, "make the slice narrower"),
        (
            {"slices": ((0.2, 0.21),), "geometry": Geometry("lightcone", area_deg2=100.0)},
            {},
            "outside all slices",
        ),
    ],
)
def test_refusals_of_what_is_asked(box, spec, header, message):
    reader = given(table_of(box), dataclasses.replace(HEADER, **header))
    with pytest.raises(InputError, match=message):
        read_sample(root_key(1), reader, dataclasses.replace(SPEC, **spec))


def test_abundances_that_are_a_little_off_are_a_warning(box):
    table = table_of(box)
    keep = np.random.default_rng(1).random(len(table)) < 0.8
    some = table.take(keep | ~table.is_central)
    result = read_sample(root_key(1), given(some), dataclasses.replace(SPEC, satellites=False))
    assert any("times as frequent as in diffhalos" in text for text in result.warnings)
    assert result.pools[0].ratio.ratio == pytest.approx(0.8, abs=0.1)


def test_some_hosts_that_are_not_there_and_some_histories_that_are_drawn_are_warnings(box):
    table = table_of(box)
    first = np.flatnonzero(~table.is_central)[0]
    lost = dataclasses.replace(table, host_id=changed_row(table.host_id, first, 99))
    result = read_sample(root_key(1), given(lost), SPEC)
    assert any("name a host that isn't in the file, such as 99: masses" in text for text in result.warnings)
    holes = np.arange(len(table)) % 5 == 0
    params = table.mah_params._replace(logm0=np.where(holes, np.nan, table.mah_params.logm0))
    result = read_sample(root_key(1), given(dataclasses.replace(table, mah_params=params)), SPEC)
    assert any(text.startswith("20 % of the halos' histories are drawn") for text in result.warnings)
    tally = result.pools[0].halos.tally
    assert tally.drawn == pytest.approx(0.2 * tally.n, rel=0.1)


def test_late_halos_are_a_warning(box):
    table = table_of(box)
    early = table.mah_params._replace(t_peak=np.minimum(table.mah_params.t_peak, 9.0))
    result = read_sample(root_key(1), given(dataclasses.replace(table, mah_params=early)), SPEC)
    assert any("median t_peak of centrals is 9.0 Gyr" in text for text in result.warnings)


def test_positions_that_leave_the_box_empty_are_a_warning(box, sample):
    table = table_of(box)
    some = dataclasses.replace(table, position=0.7 * table.position)  # Mpc/h taken as Mpc
    result = read_sample(root_key(1), given(some), SPEC)
    (text,) = set(result.warnings) - set(sample.warnings)
    assert text.startswith("positions span 55.996 Mpc, and the box has a side of 80 Mpc")
    # a file in the order of place fills its box though none of its chunks does
    ordered = table.take(np.argsort(table.position[:, 0]))
    assert read_sample(root_key(1), given(ordered), SPEC).warnings == sample.warnings


def test_satellites_can_be_left_out(box):
    table = table_of(box)
    result = read_sample(root_key(1), given(table), dataclasses.replace(SPEC, satellites=False))
    assert result.pools[0].halos.table.is_central.all()


def test_mass_functions_that_agree_say_nothing(box):
    reservoir = Reservoir(root_key(1), 10**6)
    reservoir.add(table_of(box))
    kept = reservoir.kept()
    ratio = mass_function_ratio(kept, 0, SIDE**3)
    assert ratio.ratio == pytest.approx(1, abs=0.12)
    assert check_mass_function(dataclasses.replace(ratio, ratio=1.02), 0.7, "box") == ""


def test_cells_of_the_sky_have_equal_solid_angles():
    rng = np.random.default_rng(1)
    longitude, height = rng.uniform(-0.2, 0.3, 20000), rng.uniform(0.1, 0.6, 20000)
    flat = np.sqrt(1 - height**2)
    direction = np.stack([flat * np.cos(longitude), flat * np.sin(longitude), height], axis=1)
    position = 300 * direction
    area = 0.5 * 0.5 * (180 / np.pi) ** 2
    counts = np.bincount(cells_of_sky(position, area, 16), minlength=16)
    assert len(counts) == 16
    assert np.abs(counts / 1250 - 1).max() < 0.15
    assert cells_of_sky(position, 2 * area, 16) is None  # an irregular footprint


def test_slices_take_the_nearest_snapshot():
    snapshots = np.array([0.02, 0.07, 0.12])
    assert snapshot_of((0.06, 0.08), snapshots, PLANCK15, "slices.0") == 1
    assert snapshot_of((0.11, 0.13), snapshots, PLANCK15, "slices.0") == 2
