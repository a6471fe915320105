"""Small files in the text formats of simulations, of histories that are known."""

import numpy as np

from popinfer.cosmology import Cosmology

COSMOLOGY = Cosmology(om0=0.3, h=0.7)
SCALES = (0.3, 0.5, 0.7, 0.9, 0.95)
TREE_HEADER = (
    "#scale(0) id(1) desc_scale(2) desc_id(3) pid(4) upid(5) Mvir(6) mmp?(7) "
    "x(8) y(9) z(10) vx(11) vy(12) vz(13)\n"
    "#Omega_M = 0.300000; Omega_L = 0.700000; h0 = 0.700000\n"
    "#Full box size = 70.000000 Mpc/h\n"
)


def tree_lines(root: int, masses: tuple[float, ...], host: int, since: int) -> list[str]:
    """Nodes of one branch, last step first; a satellite of a host's branch from a step on.

    Parameters
    ----------
    root : name of the last node; earlier ones count up from it. masses : Msun/h at `SCALES`.
    host : root of the host's branch, or -1. since : first step as a satellite.
    """
    lines, last = [], len(SCALES) - 1
    for step in range(last, -1, -1):
        name = root + (last - step)
        above = name - 1 if step < last else -1
        within = host + (last - step) if host >= 0 and step >= since else -1
        lines.append(
            f"{SCALES[step]:.4f} {name} {SCALES[min(step + 1, last)]:.4f} {above} {within} {within} "
            f"{masses[step]:.5e} 1 1.0 2.0 3.0 100 200 300"
        )
    return lines


HOST = (1e12, 3e12, 6e12, 9e12, 1e13)
SATELLITE = (1e11, 3e11, 5e11, 4e11, 3e11)


def write_trees(path) -> None:
    """Two trees, of a host and of its satellite since a = 0.9; the host has another progenitor, too."""
    other = f"{SCALES[3]:.4f} 500 {SCALES[4]:.4f} 100 -1 -1 9.9e12 0 1.0 2.0 3.0 100 200 300"
    lines = ["2", "#tree 100", *tree_lines(100, HOST, -1, 0), other]
    lines += ["#tree 200", *tree_lines(200, SATELLITE, 100, 3)]
    path.write_text(TREE_HEADER + "\n".join(lines) + "\n", encoding="utf-8")


def write_forest_lists(path) -> None:
    """``forests.list`` and ``locations.dat`` beside a file of trees."""
    text = path.read_text(encoding="utf-8")
    offsets = {root: text.index(f"#tree {root}\n") + len(f"#tree {root}\n") for root in (100, 200)}
    path.with_name("forests.list").write_text("#TreeRootID ForestID\n100 7\n200 7\n", encoding="utf-8")
    path.with_name("locations.dat").write_text(
        "#TreeRootID FileID Offset Filename\n"
        + "".join(f"{root} 0 {offset} {path.name}\n" for root, offset in offsets.items()),
        encoding="utf-8",
    )


def write_hlist(path, *, own_id: bool = False) -> None:
    """A catalog of three halos at a = 0.95, one of them a satellite; the host by -1 or its own name."""
    header = (
        "#scale(0) id(1) pid(2) upid(3) mvir(4) x(5) y(6) z(7) vx(8) vy(9) vz(10) Mpeak(11) "
        "Halfmass_Scale(12) First_Acc_Scale(13) First_Acc_Mvir(14)\n"
        "#Omega_M = 0.300000; Omega_L = 0.700000; h0 = 0.700000\n#Full box size = 70.000000 Mpc/h\n"
    )
    none = 100 if own_id else -1
    rows = [
        f"0.95 100 {none} {none} 1e13 7 14 21 1 2 3 1.4e13 0.6 0.95 1e13",
        "0.95 200 100 100 3e11 7.1 14 21 1 2 3 7e11 0.4 0.8 6.3e11",
        "0.95 300 -1 -1 7e11 35 35 35 1 2 3 7e11 0.5 0.95 7e11",
    ]
    path.write_text(header + "\n".join(rows) + "\n", encoding="utf-8")


def write_universemachine(path) -> None:
    """A table of two histories, in Msun without h, with the header that UniverseMachine writes."""
    n, single = len(SCALES), "SM ICL SFR Obs_SM Obs_SFR Obs_UV"
    histories = (
        "SFH ICLH SM_main_progenitor ICL_main_progenitor M_main_progenitor SFR_main_progenitor V@Mpeak"
    )
    header = (
        "#ID UPID X Y Z VX VY VZ Mpeak Mnow V@Mpeak Vnow Rvir Tidal_Tdyn Rank_DVmax(Z-score) "
        f"Random_Rank(Z-score) {single} A_first_infall A_last_infall "
        f"{' '.join(f'{name}(1..num_scales)' for name in histories.split())} "
        "Rank_DVmax(Z-score;1..num_scales)\n"
        f"#a = {SCALES[-1]:f}\n#Units: all masses in Msun (no h).\n"
        "#Units: all velocities in km/s (physical, not comoving).\n#Units: Rvir in kpc/h comoving.\n"
        f"#num_scales: {n}\n#scale list: {' '.join(f'{a:f}' for a in SCALES)}\n"
    )
    rows, other = [], " ".join(["5"] * n)
    for name, upid, infall, masses in ((1, -1, 0.0, HOST), (2, 1, 0.9, SATELLITE)):
        numbers = " ".join(f"{m:.4e}" for m in masses)
        halo = f"{name} {upid} 7 14 21 1 2 3 {max(masses):.4e} {masses[-1]:.4e} 200 190 300 0.1 0 0"
        galaxy = f"1e9 0 1 1e9 1 -20 {infall} {infall}"
        rows.append(f"{halo} {galaxy} {other} {other} {other} {other} {numbers} {other} {other} {other}")
    path.write_text(header + "\n".join(rows) + "\n", encoding="utf-8")


def write_sublink(path) -> None:
    """A SubLink tree file of the same two branches; the group's mass while it is its central."""
    import h5py

    n = len(SCALES)
    names = np.concatenate([100 + np.arange(n), 200 + np.arange(n)])
    snap = np.concatenate([np.arange(n)[::-1]] * 2)
    central = np.concatenate([names[:n], np.where(snap[n:] >= 3, names[:n], names[n:])])
    mass = np.concatenate([np.array(HOST)[::-1], np.array(SATELLITE)[::-1]]) / 1e10
    with h5py.File(path, "w") as file:
        file["SubhaloID"], file["SnapNum"] = names, snap
        file["DescendantID"] = np.where(snap == n - 1, -1, names - 1)
        file["FirstProgenitorID"] = np.where(snap == 0, -1, names + 1)
        file["FirstSubhaloInFOFGroupID"] = central
        file["SubhaloMass"] = 0.8 * mass
        file["Group_M_Crit200"] = mass
        file["SubhaloPos"] = np.tile([7000.0, 14000.0, 21000.0], (2 * n, 1))
        file["SubhaloVel"] = np.tile([1.0, 2.0, 3.0], (2 * n, 1))
        file["TreeID"] = np.zeros(2 * n, int)
        file.create_group("Header").attrs.update({"Omega0": 0.3, "HubbleParam": 0.7, "BoxSize": 70000.0})
    path.with_name("snapshots.txt").write_text(
        "# number redshift\n" + "".join(f"{i} {1 / a - 1:.8f}\n" for i, a in enumerate(SCALES)),
        encoding="utf-8",
    )


def write_galacticus(path, *, comoving: bool = True, older: bool = False) -> None:
    """The same two branches, each a forest, as Galacticus reads trees: 1e10 Msun/h and Mpc/h."""
    import h5py

    n = len(SCALES)
    names = np.concatenate([100 + np.arange(n), 200 + np.arange(n)])
    step = np.concatenate([np.arange(n)[::-1]] * 2)
    scale = np.array(SCALES)[step]
    host = np.concatenate([names[:n], np.where(step[n:] >= 3, names[:n], names[n:])])
    with h5py.File(path, "w") as file:
        nodes = file.create_group("haloTrees" if older else "forestHalos")
        nodes["nodeIndex"], nodes["hostIndex"] = names, host
        nodes["descendentIndex" if older else "descendantIndex"] = np.where(step == n - 1, -1, names - 1)
        nodes["nodeMass"] = np.concatenate([np.array(HOST)[::-1], np.array(SATELLITE)[::-1]]) / 1e10
        nodes["expansionFactor"] = scale
        nodes["position"] = np.tile([7.0, 14.0, 21.0], (2 * n, 1)) * (1 if comoving else scale[:, None])
        nodes["velocity"] = np.tile([1000.0, 2000.0, 3000.0], (2 * n, 1))
        file.create_group("forestIndex")["firstNode"] = np.array([0, n])
        file.create_group("cosmology").attrs.update({"OmegaMatter": 0.3, "HubbleParam": 0.7})
        file.create_group("simulation").attrs["boxSize"] = 70.0
        file.create_group("units").attrs.update(
            massUnitsInSI=1.98841e40,
            massHubbleExponent=-1,
            lengthUnitsInSI=3.0856775814913673e22,
            lengthHubbleExponent=-1,
            lengthScaleFactorExponent=1 if comoving else 0,
            velocityUnitsInSI=1.0,
            velocityHubbleExponent=0,
        )


def write_box_trees(box, path, n_step: int = 24) -> dict:
    """Main branches of a box's halos as consistent-trees lists them; the run file's ``halos.source``."""
    from diffmah.diffmah_kernels import DiffmahParams, mah_halopop

    from popinfer.cosmology import age

    frame, cosmology = box.columns, box.cosmology
    scales = np.linspace(0.15, 1 / (1 + box.z), n_step)
    t = np.asarray(age(cosmology, 1 / scales - 1))
    mah = DiffmahParams(*(frame[name].to_numpy() for name in DiffmahParams._fields))
    lg_mass = np.asarray(mah_halopop(mah, t, float(np.log10(age(cosmology, 0.0))))[1])
    row = {name: i for i, name in enumerate(frame["halo_id"])}
    infall = frame["t_infall"].to_numpy()
    lines = [f"{len(frame)}"]
    for i, (upid, place) in enumerate(zip(frame["upid"], frame[["x", "y", "z"]].to_numpy(), strict=True)):
        lines.append(f"#tree {i * n_step}")
        numbers = " ".join(f"{x * cosmology.h:.6f}" for x in place)
        for back in range(n_step):
            step, name = n_step - 1 - back, i * n_step + back
            inside = upid >= 0 and (back == 0 or t[step] >= infall[i])
            host = row[upid] * n_step + back if inside else -1
            mass = 10 ** lg_mass[i, step] * cosmology.h
            lines.append(
                f"{scales[step]:.6f} {name} 0 {name - 1 if back else -1} {host} {host} {mass:.6e} 1 "
                f"{numbers} 0 0 0"
            )
    header = (
        "#scale(0) id(1) desc_scale(2) desc_id(3) pid(4) upid(5) mvir(6) mmp?(7) "
        "x(8) y(9) z(10) vx(11) vy(12) vz(13)\n"
        f"#Omega_M = {cosmology.om0}; h0 = {cosmology.h}\n"
        f"#Full box size = {box.side * cosmology.h:.6f} Mpc/h\n"
    )
    path.write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
    return {"kind": "trees", "path": str(path), "geometry": {"kind": "box"}}
