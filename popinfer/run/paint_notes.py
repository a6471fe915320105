"""What a file of galaxies on halos says of its columns: units, and a sentence each."""

from popinfer.halos.writing import ColumnNote

DIFFSTAR = {
    "lgmcrit": ("", "halo mass of peak star formation efficiency, log10 Msun"),
    "lgy_at_mcrit": ("", "log10 efficiency there [1/yr]"),
    "indx_lo": ("", "slope of the efficiency below"),
    "indx_hi": ("", "slope of the efficiency above"),
    "lg_qt": ("", "log10 time of quenching [Gyr]; about 2, never, for star-forming galaxies"),
    "qlglgdt": ("", "log10 duration of quenching, in log10 time"),
    "lg_drop": ("", "log10 drop of the SFR by quenching"),
    "lg_rejuv": ("", "log10 SFR after rejuvenation, relative"),
}


def notes_on(bands: tuple[str, ...], lines: tuple[str, ...], on_sky: bool = False) -> dict[str, ColumnNote]:
    """Units and descriptions of all columns.

    Parameters
    ----------
    bands : tuple[str, ...]
        Of the survey.
    lines : tuple[str, ...]
        Names of the nebular lines that are wanted.
    on_sky : bool
        Whether the halos are on a lightcone.
    """
    sky = {
        "ra": ("deg", "direction of the halo, right ascension: from the x axis towards y"),
        "dec": ("deg", "direction of the halo, declination: towards z"),
    }
    said = {
        "halo_id": ("", "name of the halo, from the simulation"),
        "upid": ("", "name of the halo that this one is in; -1 for none"),
        **{axis: ("Mpc", f"comoving position of the halo, {axis}") for axis in "xyz"},
        **{f"v{axis}": ("km/s", f"peculiar velocity of the halo, {axis}") for axis in "xyz"},
        **(sky if on_sky else {}),
        "redshift_true": ("", "redshift without peculiar velocity"),
        "redshift": ("", "redshift with the peculiar velocity along the line of sight"),
        "logmp_obs": ("", "log10 peak mass of the halo when it is observed [Msun]"),
        "logm0": ("", "diffmah: log10 mass today without the end of growth [Msun]"),
        "logtc": ("", "diffmah: log10 time of transition [Gyr]"),
        "early_index": ("", "diffmah: index of early growth"),
        "late_index": ("", "diffmah: index of late growth"),
        "t_peak": ("Gyr", "diffmah: time of the largest mass"),
        "p_merge": ("", "probability that the halo's galaxy has been disrupted"),
        **DIFFSTAR,
        "is_quenched": ("", "1 for galaxies of the quenched branch, which may still form stars: see lg_ssfr"),
        "lg_mstar": ("", "log10 stellar mass [Msun], without h"),
        "lg_ssfr": ("", "log10 specific star formation rate [1/yr]"),
        "lgmet": ("", "log10 mass fraction of metals in stars"),
        "av": ("mag", "attenuation in V of obscured light"),
        "selected": ("", "1 for galaxies that the survey lists"),
        "draw": ("", "which posterior draw; 0 for the best fit or given values"),
    }
    for band in bands:
        said[f"mag_{band}"] = ("mag", f"true apparent AB magnitude, {band}")
        said[f"mag_{band}_obs"] = ("mag", f"measured apparent AB magnitude, {band}")
        said[f"mag_err_{band}"] = ("mag", f"error of the measured magnitude, {band}")
    for label in lines:
        said[f"lum_{label}"] = ("solLum", f"luminosity of the line {label.replace('_', ' ')} without dust")
    return {name: ColumnNote(*text) for name, text in said.items()}
