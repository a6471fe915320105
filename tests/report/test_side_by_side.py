"""``popinfer compare``: the table's numbers, the figure, and what can't be compared."""

import numpy as np
import pytest
import synthetic
from inference_groups import draws_of

from popinfer import cli
from popinfer.errors import InputError
from popinfer.report.figures import figure_files
from popinfer.report.side_by_side import compare_posteriors, comparison_table, overlaid_corners
from popinfer.report.style import report_style


def posterior(seed=0, *, shift=0.0, scale=1.0, names=None, unit="dex"):
    """Draws of the made-up parameters, one of them moved by so many of its standard deviations."""
    draws = synthetic.draws(seed, scale=scale)
    draws["dust.av"] = draws["dust.av"] + shift * synthetic.PARAMETERS["dust.av"][1]
    idata = draws_of(posterior={k: x for k, x in draws.items() if names is None or k in names})
    for name in idata["posterior"].data_vars:
        idata["posterior"][name].attrs["unit"] = unit
    return idata


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "first.nc", tmp_path / "second.nc"
    for path, idata in zip(paths, (posterior(), posterior(1, shift=2.0, scale=1.5)), strict=True):
        idata.to_netcdf(str(path), engine="h5netcdf")
    return paths


def test_the_table_has_means_deviations_and_shifts():
    rows = {row.name: row for row in compare_posteriors(posterior(), posterior(1, shift=3.0, scale=2.0))}
    row = rows["dust.av"]
    mean, sd = synthetic.PARAMETERS["dust.av"][:2]
    assert row.means == pytest.approx((mean, mean + 3 * sd), abs=0.15 * sd)
    assert row.sds == pytest.approx((sd, 2 * sd), rel=0.06)
    assert row.shift == pytest.approx(3 / np.sqrt(2.5), abs=0.15)
    assert row.ratio == pytest.approx(2, rel=0.06)
    assert abs(rows["template.knot_4000"].shift) < 0.1
    lines = comparison_table(list(rows.values()), ("one", "two")).splitlines()
    assert lines[0] == "A: one" and lines[1] == "B: two"
    assert lines[-1].startswith("largest shift: dust.av, +1.")
    assert len(lines) == len(rows) + 4 and len({len(line) for line in lines[2:-1]}) == 1


def test_equal_posteriors_do_not_shift():
    assert all(row.shift == 0 and row.ratio == 1 for row in compare_posteriors(posterior(), posterior()))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (
            draws_of(posterior={"x": np.zeros((1, 100))}),
            "share no parameter: sfh.*first, x in the second",
        ),
        (posterior(unit="mag"), "sfh.critical_mass is in 'dex' in the first posterior and in 'mag'"),
        (draws_of(posterior={"dust.av": np.zeros((1, 10))}), "is in 'dex' in the first"),
        (draws_of(prior={"dust.av": np.zeros((1, 100))}), "holds none"),
    ],
)
def test_what_cannot_be_compared(other, says):
    with pytest.raises(InputError, match=says):
        compare_posteriors(posterior(), other)


def test_the_figure_has_a_panel_a_pair_in_two_formats():
    first, second = posterior(), posterior(1, shift=2.0, scale=0.3)
    rows = compare_posteriors(first, second)
    with report_style():
        plot = overlaid_corners(first, second, rows, ("one", "two"))
        content = figure_files([plot])
    shown = [ax for ax in plot.figure.axes if ax.axison]
    assert len(shown) == len(rows) * (len(rows) + 1) // 2
    for ax in shown[:1]:  # both marginals end inside their panel
        assert max(line.get_ydata().max() for line in ax.lines) < ax.get_ylim()[1]
    assert {name.rpartition(".")[2] for name in content} == {"png", "pdf"}
    texts = [text.get_text() for text in plot.figure.legends[0].get_texts()]
    assert texts == ["A: one", "B: two"]


def test_the_command(files, tmp_path, capsys):
    out = tmp_path / "figures"
    assert cli.main(["compare", *map(str, files), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("A: first\nB: second\n") and "largest shift: dust.av" in said
    assert sorted(path.name for path in out.iterdir()) == ["compare.pdf", "compare.png"]


def test_parameters_of_one_alone_are_told(files, tmp_path, capsys):
    few = tmp_path / "few.nc"
    posterior(names=("dust.av", "sfh.efficiency")).to_netcdf(str(few), engine="h5netcdf")
    assert cli.main(["compare", str(files[0]), str(few)]) == 0
    assert "only in A: sfh.critical_mass, sfh.quenching_time" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"no NetCDF", b""])
def test_files_that_are_no_posteriors(content, files, tmp_path, capsys):
    bad = tmp_path / "bad.nc"
    if content is not None:
        bad.write_bytes(content)
    assert cli.main(["compare", str(files[0]), str(bad)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "bad.nc" in error


def test_a_folder_that_is_no_finished_run(files, tmp_path, capsys):
    assert cli.main(["compare", str(files[0]), str(tmp_path)]) == 2
    assert "posterior.nc" in capsys.readouterr().err
