"""Commands that explore, before a run and after it: none of them writes results."""

from pathlib import Path
from typing import Annotated

import typer

from popinfer.cli_session import Out, RunFile, expanded, name_code, read_run_file, start

explore_app = typer.Typer()
ssp_app = typer.Typer(no_args_is_help=True, help="Stellar population grids.")
explore_app.add_typer(ssp_app, name="ssp")


@explore_app.command()
def keys(
    section: Annotated[
        str, typer.Argument(help="Section or key, such as catalog.bands or sample; all when absent.")
    ] = "",
) -> None:
    """List the keys of a run file: type, unit, default and meaning."""
    from popinfer.config.keys import key_table, keys_below

    typer.echo(key_table(keys_below(section)))


@explore_app.command()
def params(
    file: RunFile,
    all_: Annotated[
        bool, typer.Option("--all", help="diffstarpop's own 88 parameters too, which have no default prior.")
    ] = False,
) -> None:
    """List everything that a run file can free or fix: value, prior, domain, unit and meaning."""
    config = read_run_file(file, quiet=False)
    from popinfer.run.params import parameter_table

    typer.echo(parameter_table(config, everything=all_))


@explore_app.command()
def filters(
    pattern: Annotated[str, typer.Argument(help="Part of a name, such as sdss; * and ? as in a shell.")] = "",
    plot: Annotated[Path | None, typer.Option("--plot", help="Picture of these curves (.png, .pdf).")] = None,
) -> None:
    """List the filter curves that can be used by name: source, pivot wavelength and width."""
    from popinfer.data.filters import list_filters, plot_filters

    rows = list_filters(pattern)
    if plot is not None:
        plot_filters([row.name for row in rows], plot)
    width = max(len(row.name) for row in rows)
    typer.echo(f"{'name':{width}}  source    pivot [Angstrom]  width [Angstrom]")
    for row in rows:
        typer.echo(f"{row.name:{width}}  {row.source:8}  {row.pivot:16.0f}  {row.width:16.0f}")
    if plot is not None:
        typer.echo(plot)


@ssp_app.command()
def info(
    file: Annotated[Path | None, typer.Argument(help="HDF5 file; the embedded grid when absent.")] = None,
) -> None:
    """Describe a grid of stellar populations."""
    start(True)
    from popinfer.data import load_ssp
    from popinfer.data.ssp_convert import describe_ssp

    typer.echo(describe_ssp(load_ssp(file)))


@explore_app.command()
def check(file: RunFile, out: Out = None) -> None:
    """Check a run file and all that it names, and tell what would run; nothing is written."""
    from popinfer.run.check import check_run_file

    name_code(quiet=False)
    typer.echo("\n".join(check_run_file(file, out).lines()))


@explore_app.command()
def init(
    catalog: Annotated[str, typer.Argument(help="Catalog file, or sdss_mgs, the embedded sample.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", callback=expanded, help="Run file to write; <catalog>.yaml here when absent."),
    ] = None,
) -> None:
    """Write a first run file for a catalog: bands, filters, redshift, slices and limits are guessed."""
    from popinfer.run.draft import draft, write_draft

    made = draft(catalog)
    path = Path(f"{made.name}.yaml") if out is None else out
    write_draft(made, path)
    typer.echo("\n".join([*made.said, f"{path}: written; read it, then 'popinfer check {path}'"]))


@explore_app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a finished run, or a posterior in NetCDF.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", callback=expanded, help="Folder for a corner plot of both, PNG and PDF."),
    ] = None,
) -> None:
    """Put two posteriors side by side: a table of the parameters that both have, and a corner plot."""
    from popinfer.run.compare import compare as compared

    typer.echo("\n".join(compared(first, second, out)))
