"""Command line: ``popinfer run FILE`` and the stages that it is made of.

Exit codes: 0 done, 1 a bug, 2 something in the input or the options can't be used (one line says what), 3 the
posterior is not converged, 130 interrupted.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from popinfer.errors import InputError, NotConvergedError

_INTERRUPTED, _KEPT = 130, "interrupted; finished stages are kept"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Population inference of the galaxy-halo connection from survey colors.",
)
ssp_app = typer.Typer(no_args_is_help=True, help="Stellar population grids.")
app.add_typer(ssp_app, name="ssp")

File = Annotated[Path, typer.Argument(help="Run file (YAML).")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of results; results/<name> when absent.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Unconverged = Annotated[
    bool, typer.Option("--allow-unconverged", help="Exit with 0 although the posterior is not converged.")
]


def _start(quiet: bool) -> Any:
    """Precision and compilation cache, once a process; the reporter that stages talk to."""
    from popinfer import precision
    from popinfer.run.folder import cache_folder
    from popinfer.run.progress import Silent, Terminal

    precision.start(cache_dir=str(cache_folder()))
    return Silent() if quiet else Terminal()


def _finish(verdict: Any, folder: Path, quiet: bool, allow_unconverged: bool) -> None:
    if not quiet:
        typer.echo(f"{'CONVERGED' if verdict.converged else 'NOT CONVERGED'}\n{folder}")
    if not verdict.converged and not allow_unconverged:
        raise NotConvergedError(str(verdict))


@app.command()
def run(file: File, out: Out = None, quiet: Quiet = False, allow_unconverged: Unconverged = False) -> None:
    """Everything: search, halos, fit, sample, report."""
    say = _start(quiet)
    from popinfer.run.prepare import prepare
    from popinfer.run.stages import run_all

    ready = prepare(file, out, say)
    verdict = run_all(ready, say, allow_unconverged=True)
    _finish(verdict, ready.folder.report, quiet, allow_unconverged)


@app.command()
def search(file: File, out: Out = None, quiet: Quiet = False) -> None:
    """Find where the posterior is, on few halos."""
    say = _start(quiet)
    from popinfer.run import stages
    from popinfer.run.prepare import prepare

    stages.search(prepare(file, out, say), say)


@app.command()
def halos(file: File, out: Out = None, quiet: Quiet = False) -> None:
    """Draw the halos that the model is integrated over."""
    say = _start(quiet)
    from popinfer.run import stages
    from popinfer.run.prepare import prepare

    stages.halos(prepare(file, out, say), say)


@app.command()
def fit(file: File, out: Out = None, quiet: Quiet = False) -> None:
    """Find the best population and how well it is known."""
    say = _start(quiet)
    from popinfer.run import stages
    from popinfer.run.prepare import prepare

    stages.fit(prepare(file, out, say), say)


@app.command()
def fisher(file: File, out: Out = None, quiet: Quiet = False) -> None:
    """Rank the free parameters by what the data can tell, and name degenerate combinations."""
    say = _start(quiet)
    from popinfer.run import stages
    from popinfer.run.prepare import prepare

    ready = prepare(file, out, say)
    found, where = stages.fisher(ready, say)
    if not quiet:
        typer.echo(f"{found}\nAt the {where}; in units of each prior's standard deviation.")
        typer.echo(ready.folder.fisher)


@app.command()
def sample(file: File, out: Out = None, quiet: Quiet = False, allow_unconverged: Unconverged = False) -> None:
    """Draw from the posterior and predict."""
    say = _start(quiet)
    from popinfer.run import stages
    from popinfer.run.prepare import prepare

    ready = prepare(file, out, say)
    _finish(stages.sample(ready, say), ready.folder.posterior, quiet, allow_unconverged)


@app.command()
def report(
    where: Annotated[Path, typer.Argument(help="Run file, or a run's folder.")],
    out: Out = None,
    quiet: Quiet = False,
    allow_unconverged: Unconverged = False,
) -> None:
    """Write the page to read from the stored draws."""
    say = _start(quiet)
    from popinfer.config import load_config
    from popinfer.run import stages
    from popinfer.run.folder import RunFolder

    if out is None and not where.is_dir():
        out = Path("results") / load_config(where).name
    folder = RunFolder(where if out is None else out)
    _finish(stages.report(folder, say), folder.report, quiet, allow_unconverged)


@app.command()
def mock(
    file: File,
    out: Annotated[
        Path, typer.Option("--out", help="Catalog to write: .parquet, .csv, .fits, .ecsv, .hdf5.")
    ],
    values: Annotated[
        list[str] | None, typer.Option("--set", help="True value of a parameter, name=value; repeatable.")
    ] = None,
    n_galaxies: Annotated[
        int | None, typer.Option(min=1, help="Galaxies a slice; as many as the real catalog when absent.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of halos, noise and the choice of galaxies.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Make a catalog from the model, its truth beside it, and a run file for it."""
    say = _start(quiet)
    from popinfer.run.mock import MockSpec, make_mock, parse_values

    made = make_mock(file, out, MockSpec(parse_values(values or []), n_galaxies, seed), say)
    if not quiet:
        typer.echo("\n".join(str(path) for path in made))


@app.command()
def calibrate(
    file: File,
    n: Annotated[int, typer.Option("--n", help="Simulated surveys.")] = 200,
    processes: Annotated[int, typer.Option(help="Processes that share the work.")] = os.cpu_count() or 1,
    sabotage: Annotated[
        str,
        typer.Option(help="Make an error that has to be found: half_covariance, no_halo_noise."),
    ] = "none",
    seed: Annotated[int | None, typer.Option(help="Of the surveys; the run file's when absent.")] = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Simulate surveys from the prior, analyse each, and test whether the posteriors cover the truth."""
    say = _start(quiet)
    from popinfer.report import write_calibration
    from popinfer.run.calibrate import CalibrateSpec
    from popinfer.run.calibrate import calibrate as run_trials

    found, folder = run_trials(file, CalibrateSpec(n, processes, sabotage, seed), out, say)
    page = write_calibration(found, folder.path)
    if not quiet:
        typer.echo(f"{'CALIBRATED' if found.passed else 'NOT CALIBRATED'}\n{page}")
    if not found.passed:
        raise NotConvergedError(found.failure)


@app.command()
def doctor(quiet: Quiet = False) -> None:
    """Versions, devices, precision, embedded data, and a short self-test."""
    _start(quiet)
    from popinfer.run.doctor import examine

    text, healthy = examine()
    if not quiet or not healthy:
        typer.echo(text)
    if not healthy:
        raise typer.Exit(1)


@ssp_app.command()
def info(
    file: Annotated[Path | None, typer.Argument(help="HDF5 file; the embedded grid when absent.")] = None,
) -> None:
    """Describe a grid of stellar populations."""
    _start(True)
    from popinfer.data import load_ssp
    from popinfer.data.ssp_convert import describe_ssp

    typer.echo(describe_ssp(load_ssp(file)))


def main(arguments: list[str] | None = None) -> int:
    """Entry point: run a command, turn errors into one line and an exit code."""
    try:
        code = int(app(arguments, standalone_mode=False) or 0)
        # typer turns Ctrl-C into this code or into an exception, depending on its version
        return code if code != _INTERRUPTED else _fail(_KEPT, _INTERRUPTED)
    except (InputError, NotConvergedError) as error:
        return _fail(str(error), 2 if isinstance(error, InputError) else 3)
    except KeyboardInterrupt:
        return _fail(_KEPT, _INTERRUPTED)
    except OSError as error:
        return _fail(str(error), 2)
    except Exception as error:
        # typer's own errors, whichever click it brings along
        if type(error).__name__ == "Abort":
            return _fail(_KEPT, _INTERRUPTED)
        if hasattr(error, "format_message"):
            return _fail(error.format_message(), 2)
        raise


def _fail(message: str, code: int) -> int:
    print(f"popinfer: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
