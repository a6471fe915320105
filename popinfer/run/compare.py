"""Two finished runs, or two posteriors in NetCDF, side by side."""

from pathlib import Path

from popinfer.errors import InputError, first_line
from popinfer.inference_data import InferenceData, read_group
from popinfer.report.figures import figure_files
from popinfer.report.side_by_side import compare_posteriors, comparison_table, overlaid_corners
from popinfer.report.style import report_style
from popinfer.run.folder import RunFolder, check_writable
from popinfer.run.posterior import from_netcdf
from popinfer.run.stages import read_results


def compare(first: Path, second: Path, out: Path | None) -> list[str]:
    """Compare two posteriors; write the corner plot where a folder for it is given.

    Parameters
    ----------
    first, second : Path
        Folders of runs, or files in NetCDF that ArviZ reads.
    out : Path or None
        Folder for ``compare.png`` and ``compare.pdf``; none is drawn when absent.

    Returns
    -------
    list of str
        Lines for a person.

    Raises
    ------
    InputError
        A run isn't finished, a file can't be read, or they have nothing in common.
    """
    one, other = read_posterior(first), read_posterior(second)
    labels = _labels(first, second)
    rows = compare_posteriors(one, other)
    lines = [comparison_table(rows, labels)]
    for which, idata in (("A", one), ("B", other)):
        names = map(str, read_group(idata, "posterior").data_vars)
        alone = [name for name in names if name not in {row.name for row in rows}]
        if alone:
            lines.append(f"only in {which}: {', '.join(alone)}")
    if out is None:
        return lines
    check_writable(out, f"--out {out}")
    with report_style():
        files = figure_files([overlaid_corners(one, other, rows, labels)])
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
        lines.append(str(out / name))
    return lines


def read_posterior(path: Path) -> InferenceData:
    """Draws of a run's folder, checked by their seal, or of any file that ArviZ reads."""
    if path.is_dir():
        return read_results(RunFolder(path))[0]
    if not path.is_file():
        raise InputError(f"{path}: no such folder of results, and no such file")
    try:
        return from_netcdf(path.read_bytes())
    except Exception as error:  # the libraries raise dozens of kinds for what isn't theirs
        raise InputError(f"{path}: can't be read as a posterior in NetCDF ({first_line(error)})") from None


def _labels(first: Path, second: Path) -> tuple[str, str]:
    """Short names: those of the folders or files, whole paths where these are the same."""
    names = [path.resolve().name if path.is_dir() else path.stem for path in (first, second)]
    return (names[0], names[1]) if names[0] != names[1] else (str(first), str(second))
