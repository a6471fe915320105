"""The report's numbers as tables in ECSV: comma-separated values, a commented head tells units and meanings.

``astropy.table.Table.read`` gives columns with units; anything that reads CSV and can pass over lines that
begin with # (``pandas.read_csv(file, comment="#")``) gives the numbers. What isn't known is an empty cell.
"""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from popinfer.inference_data import InferenceData, group_names, read_group
from popinfer.report.comparison import Histograms, read_abundances, read_histograms
from popinfer.report.goodness import FeatureChecks, read_checks
from popinfer.report.parameters import ParameterRow
from popinfer.report.relations import AXES, UNITS, tabulate_relations
from popinfer.report.summary import RunSummary

_FIGURES = 7  # significant, of every number: more than any of them is known to
_LEVELS = (2.5, 16, 50, 84, 97.5)
_QUANTILES = ("low95", "low68", "median", "high68", "high95")
_QUANTILE_WORDS = tuple(
    f"{level:g} % quantile{' (median)' if level == 50 else ''}, posterior" for level in _LEVELS
)


class Column(NamedTuple):
    """A column of a table: `values` of one kind, `unit` in astropy's words ("" for none), what it is."""

    name: str
    values: Sequence[Any] | np.ndarray
    unit: str
    description: str


def table_files(
    idata: InferenceData, summary: RunSummary, rows: tuple[ParameterRow, ...]
) -> dict[str, bytes]:
    """Every table that the stored groups allow: file name -> content.

    Parameters
    ----------
    idata : InferenceData
        Draws and predictions as described in `popinfer.report`.
    summary : RunSummary
        What was run.
    rows : tuple[ParameterRow, ...]
        Of the parameters.
    """
    tables = {"parameters.ecsv": parameter_columns(rows)}
    histograms, checks = read_histograms(idata), read_checks(idata)
    if histograms is not None:
        tables["predictions.ecsv"] = histogram_columns(histograms)
    if checks is not None:
        tables["checks.ecsv"] = check_columns(checks)
    abundances = read_abundances(idata)
    if abundances:
        tables["abundances.ecsv"] = [
            Column("abundance", [x.name for x in abundances], "", "number or density, and its unit"),
            Column("observed", [x.observed for x in abundances], "", "observed or published value"),
            Column("sd", [x.sd for x in abundances], "", "its standard deviation, with cosmic variance"),
            Column("median", [x.median for x in abundances], "", "median, posterior"),
            Column("low68", [x.low for x in abundances], "", "16 % quantile, posterior"),
            Column("high68", [x.high for x in abundances], "", "84 % quantile, posterior"),
        ]
    if "derived" in group_names(idata):
        tables["relations.ecsv"] = relation_columns(idata)
        tables["published.ecsv"] = published_columns(idata)
    return {name: ecsv(columns, summary) for name, columns in tables.items()}


def parameter_columns(rows: tuple[ParameterRow, ...]) -> list[Column]:
    """The table of the free parameters; their units differ, and have a column of their own."""
    words = {
        "name": "name in the run file",
        "meaning": "in words",
        "unit": "unit of this row's values",
        "prior": "prior distribution",
        "median": "50 % quantile, posterior",
        "low68": "16 % quantile, posterior",
        "high68": "84 % quantile, posterior",
        "low95": "2.5 % quantile, posterior",
        "high95": "97.5 % quantile, posterior",
        "posterior_sd": "standard deviation, posterior",
        "prior_sd": "standard deviation, prior",
        "shrinkage": "1 - posterior_sd / prior_sd",
        "overlap": "area that prior and posterior have in common",
        "prior_shift": "posterior mean minus prior mean, in standard deviations of the prior",
        "best_fit": "value at the highest posterior density",
        "truth": "true value, of mock catalogs only",
    }
    columns = [Column(name, [getattr(row, name) for row in rows], "", what) for name, what in words.items()]
    diagnostics = {
        "rhat": "split R-hat",
        "ess_bulk": "effective sample size, bulk",
        "ess_tail": "effective sample size, tails",
    }
    return columns + [
        Column(name, [getattr(row.diagnostics, name) for row in rows], "", what)
        for name, what in diagnostics.items()
    ]


def histogram_columns(histograms: Histograms) -> list[Column]:
    """Observed and expected counts in every bin of every color and magnitude, slice by slice."""
    n_slice, n_feature, n_bin = histograms.data.shape
    s, f, b = (x.ravel() for x in np.indices((n_slice, n_feature, n_bin)))
    quantiles = np.percentile(histograms.model, _LEVELS, axis=0).reshape(len(_LEVELS), -1)
    halo_sd = np.broadcast_to(histograms.halo_sd, histograms.data.shape).ravel()
    return [
        *_limit_columns(histograms.slice_z[s]),
        Column("feature", [histograms.features[i] for i in f], "", "color or magnitude"),
        Column("bin_low", histograms.edges[f, b], "mag", "lower edge of the bin"),
        Column("bin_high", histograms.edges[f, b + 1], "mag", "upper edge of the bin"),
        Column("observed", histograms.data.ravel(), "", "galaxies in the bin"),
        *_quantile_columns(quantiles, "expected galaxies in the bin"),
        Column("halo_sd", halo_sd, "", "standard deviation that the halo sample brings; 0 if not measured"),
        Column("residual", histograms.residuals().ravel(), "", "(observed - median) / sigma"),
    ]


def check_columns(checks: FeatureChecks) -> list[Column]:
    """Posterior predictive checks of every feature in every slice."""
    s, t, f = (x.ravel() for x in np.indices(checks.observed.shape))
    return [
        *_limit_columns(checks.slice_z[s]),
        Column("feature", [checks.features[i] for i in f], "", "color or magnitude"),
        Column("statistic", [checks.statistics[i] for i in t], "", "median and width in mag, blue_fraction"),
        Column("observed", checks.observed.ravel(), "", "of the observed galaxies"),
        Column("predicted", checks.predicted.ravel(), "", "mean of replicate surveys"),
        Column("sd", checks.sd.ravel(), "", "standard deviation of replicate surveys"),
        Column("p_value", checks.p_value.ravel(), "", "two-sided posterior predictive p-value"),
    ]


def relation_columns(idata: InferenceData) -> list[Column]:
    """The derived relations on their whole grids, one below the other."""
    derived = read_group(idata, "derived")
    names, x, quantiles, fiducial = [], [], [], []
    for name in (name for name in AXES if name in derived):
        (axis,) = (str(dim) for dim in derived[name].dims if dim != "draw")
        draws = np.asarray(derived[name].transpose("draw", axis).values, float)
        there = np.isfinite(draws).any(axis=0)
        filled = np.full((len(_LEVELS), there.size), np.nan)
        filled[:, there] = np.nanpercentile(draws[:, there], _LEVELS, axis=0)
        names += [name] * there.size
        x.append(np.asarray(derived[axis].values, float))
        quantiles.append(filled)
        calibrated = derived.get(f"{name}_fiducial")
        fiducial.append(np.full(there.size, np.nan) if calibrated is None else np.asarray(calibrated, float))
    return [
        Column("relation", names, "", "which relation"),
        Column("x_name", [AXES[name] for name in names], "", "what x is"),
        Column("x", np.concatenate(x), "", "where"),
        Column("unit", [UNITS[name] for name in names], "", "what the values are"),
        *_quantile_columns(np.concatenate(quantiles, axis=1), "relation"),
        Column("fiducial", np.concatenate(fiducial), "", "of the calibration that the fit started from"),
    ]


def published_columns(idata: InferenceData) -> list[Column]:
    """Published values beside the posterior's median, where both reach."""
    found = [(row, label, value) for row in tabulate_relations(idata) for label, value in row.published]
    return [
        Column("relation", [row.name for row, _, _ in found], "", "which relation"),
        Column("x", [row.x for row, _, _ in found], "", "where; what it is, relations.ecsv tells"),
        Column("publication", [label for _, label, _ in found], "", "short citation"),
        Column("published", [value for _, _, value in found], "", "published value, interpolated"),
        Column("median", [row.median for row, _, _ in found], "", "median, posterior"),
        Column("difference", [row.median - value for row, _, value in found], "", "median - published"),
    ]


def _limit_columns(limits: np.ndarray) -> list[Column]:
    """Limits of slices, (row, 2)."""
    return [
        Column("z_low", limits[:, 0], "", "lower redshift limit of the slice"),
        Column("z_high", limits[:, 1], "", "upper redshift limit of the slice"),
    ]


def _quantile_columns(quantiles: np.ndarray, of: str) -> list[Column]:
    """Quantiles (level, row)."""
    return [
        Column(name, values, "", f"{words} of the {of}")
        for name, words, values in zip(_QUANTILES, _QUANTILE_WORDS, quantiles, strict=True)
    ]


def ecsv(columns: Sequence[Column], summary: RunSummary) -> bytes:
    """A table as an ECSV file.

    Parameters
    ----------
    columns : Sequence[Column]
        Of equal length; numbers that aren't finite become empty cells.
    summary : RunSummary
        Of the run, whose name and draws the file's head tells.
    """
    from astropy.table import Column as TableColumn  # takes a part of a second to load
    from astropy.table import MaskedColumn, Table

    table = Table(meta={"run": summary.name, "posterior": summary.posterior or "-"})
    for name, values, unit, description in columns:
        array = np.asarray(values)
        if array.dtype.kind == "f":
            array = np.array([float(f"{x:.{_FIGURES}g}") for x in array])
            missing = ~np.isfinite(array)
            table[name] = MaskedColumn(array, mask=missing, unit=unit or None, description=description)
        else:
            kind = str if array.dtype.kind not in "iu" else array.dtype
            table[name] = TableColumn(array.astype(kind), unit=unit or None, description=description)
    text = io.StringIO()
    table.write(text, format="ascii.ecsv", delimiter=",")
    return text.getvalue().encode()
