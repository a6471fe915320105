"""Trees that ytree loads are those that popinfer reads itself; skipped where ytree isn't installed."""

import sys

import numpy as np
import pytest
from halo_texts import write_sublink, write_trees

from popinfer.config import RunConfig
from popinfer.errors import InputError
from popinfer.halos.formats import open_halos
from popinfer.halos.table import Asked, join_tables


@pytest.fixture
def ytree():
    return pytest.importorskip("ytree")


@pytest.fixture
def trees(tmp_path):
    """A file of consistent-trees whose header says all that ytree asks for."""
    path = tmp_path / "tree_0_0_0.dat"
    write_trees(path)
    box = "#Full box size = 70.000000 Mpc/h\n"
    units = (
        "#Consistent Trees (RC3)\n#Mvir: Halo mass (Msun/h).\n#x/y/z: Halo position (Mpc/h comoving).\n"
        "#vx/vy/vz: Halo velocity (km/s physical).\n"
    )
    path.write_text(path.read_text(encoding="utf-8").replace(box, box + units), encoding="utf-8")
    return path


def read(path, format="ytree", size=10**6, **asked):
    reader = open_halos([str(path)], format, Asked(**asked))
    table = join_tables(list(reader.chunks(size)))
    return reader.header, table.take(np.argsort(table.halo_id))


def check_alike(ours, theirs):
    for name in ("halo_id", "host_id"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    # ytree reads floats of four bytes
    for name in ("lg_mass", "z", "position", "velocity", "t_infall", "lgm_infall", "lgmhost_infall"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(ours.branches.lg_mass, theirs.branches.lg_mass, rtol=1e-6)
    np.testing.assert_allclose(ours.branches.scale_factor, theirs.branches.scale_factor, rtol=1e-5)


def test_trees_are_those_of_our_own_reader(ytree, trees, capfd):
    header, ours = read(trees)
    own, theirs = read(trees, "consistent_trees")
    check_alike(ours, theirs)
    assert (~ours.is_central).sum() == 1
    assert header.side == pytest.approx(own.side)
    assert header.cosmology == pytest.approx(own.cosmology)
    assert header.claims_satellites and header.is_lightcone is False
    assert capfd.readouterr().err == ""  # no bars and lines of its own


def test_an_arbor_that_ytree_saved(ytree, trees, tmp_path):
    saved = ytree.load(str(trees)).save_arbor(filename=str(tmp_path / "saved"))
    check_alike(read(saved)[1], read(trees, "consistent_trees")[1])


def test_a_snapshot_and_chunks(ytree, trees, monkeypatch):
    _, early = read(trees, redshifts=(0.42,))
    check_alike(early, read(trees, "consistent_trees", redshifts=(0.42,))[1])
    from popinfer.halos.formats import ytree_trees

    monkeypatch.setattr(ytree_trees, "NODES_PER_HALO", 1)
    parts = list(open_halos([str(trees)], "ytree").chunks(1))
    assert [len(part) for part in parts] == [1, 1]
    assert join_tables(parts).host_id.tolist() == [-1, 100]  # by name, though the host is in another chunk


def test_fields_can_be_named(ytree, trees):
    _, immediate = read(trees, columns=(("host", "pid"), ("mass", "Mvir")))
    check_alike(immediate, read(trees, "consistent_trees")[1])
    with pytest.raises(InputError, match=r"columns\.host: .* has no field boss"):
        read(trees, columns=(("host", "boss"),))
    with pytest.raises(InputError, match=r"columns\.x: ytree knows which field that is"):
        read(trees, columns=(("x", "y"),))


def test_units_that_ytree_doesnt_know_have_to_be_given(ytree, trees):
    whole = trees.read_text(encoding="utf-8")
    trees.write_text(whole.replace("(Msun/h)", "").replace("(Mpc/h comoving)", ""), encoding="utf-8")
    with pytest.raises(InputError, match=r"units\.mass: is missing, and ytree doesn't know the unit of mass"):
        read(trees)
    with pytest.raises(InputError, match=r"units\.length: is missing, .* unit of position_x"):
        read(trees, mass_unit="Msun/h")
    check_alike(read(trees, mass_unit="Msun/h", length_unit="Mpc/h")[1], read(trees, "consistent_trees")[1])
    trees.write_text(whole, encoding="utf-8")
    with pytest.raises(InputError, match=r"ytree knows that mass of .* is in Msun.*leave the unit out"):
        read(trees, mass_unit="Msun/h")


def test_what_ytree_cant_load_is_refused(ytree, tmp_path):
    path = tmp_path / "tree_extended.0.hdf5"
    write_sublink(path)
    with pytest.raises(InputError, match="ytree can't load it"):
        read(path)


def test_without_ytree_the_extra_is_named(trees, monkeypatch):
    monkeypatch.setitem(sys.modules, "ytree", None)
    with pytest.raises(InputError, match=r"needs the package ytree .* pip install 'popinfer\[ytree\]'"):
        read(trees)


def test_a_run_file_can_ask_for_it():
    source = {"kind": "trees", "path": "t.dat", "format": "ytree", "geometry": {"kind": "box"}}
    halos = RunConfig.model_fields["halos"].annotation.model_validate({"source": source})
    assert halos.source.format == "ytree"
