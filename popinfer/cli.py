"""Command line: ``popinfer run FILE`` and the stages that it is made of.

A run that was killed or interrupted goes on where it was when the same command is given again. Exit codes are
told by ``popinfer --help``.
"""

import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from popinfer.cli_explore import explore_app
from popinfer.cli_session import Out, Quiet, RunFile, expanded, name_code
from popinfer.cli_session import read_run_file as _read
from popinfer.cli_session import start as _start
from popinfer.errors import InputError, MisfitError, NotConvergedError, shortened

if TYPE_CHECKING:
    from popinfer.report import Outcome

_INTERRUPTED, _UNREAD = 130, 141  # as shells tell of SIGINT and SIGPIPE
_EXIT_CODES = """
Exit codes: 0 done; 1 a bug; 2 something in the input, the options or the machine can't be used (one line
says what); 3 the posterior is not converged; 4 the model doesn't describe the data (chi-square's p < 0.001);
130 interrupted (Ctrl-C) and 143 told to end (SIGTERM): the same command goes on from there; 141 nobody reads
the output to its end.
"""
_MEMORY = (
    "the memory doesn't suffice; use smaller halos.n_per_slice or kernels.n_centers, or fewer chains at once"
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Population inference of the galaxy-halo connection from survey colors.",
    epilog=_EXIT_CODES,
)
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Remove the results that the folder holds, and start over.")
]
Unconverged = Annotated[
    bool, typer.Option("--allow-unconverged", help="Don't exit with 3 when the posterior is not converged.")
]
Misfit = Annotated[
    bool, typer.Option("--allow-misfit", help="Don't exit with 4 when the model doesn't describe the data.")
]


def _finish(outcome: "Outcome", where: Path, quiet: bool, allowed: tuple[bool, bool]) -> None:
    """Print what a run came to; `allowed` are an unconverged posterior and a misfit."""
    if not quiet:
        typer.echo("\n".join([*outcome.lines, str(outcome), str(where)]))
    allow_unconverged, allow_misfit = allowed
    if not outcome.converged and not allow_unconverged:
        raise NotConvergedError(str(outcome.gate))
    if not outcome.describes and not allow_misfit:
        raise MisfitError(f"{outcome.fit.headline} {outcome.fit.numbers}; --allow-misfit exits with 0")


@app.command()
def run(
    file: RunFile,
    out: Out = None,
    quiet: Quiet = False,
    allow_unconverged: Unconverged = False,
    allow_misfit: Misfit = False,
    fresh: Fresh = False,
) -> None:
    """Everything: search, halos, fit, sample, report; goes on where a killed run was."""
    config, say = _read(file, quiet), _start(quiet)
    from popinfer.run.prepare import prepare
    from popinfer.run.stages import run_all

    ready = prepare(config, out, say)
    outcome = run_all(ready, say, fresh=fresh)
    _finish(outcome, ready.folder.report, quiet, (allow_unconverged, allow_misfit))


@app.command()
def search(file: RunFile, out: Out = None, quiet: Quiet = False, fresh: Fresh = False) -> None:
    """Find where the posterior is, on few halos."""
    config, say = _read(file, quiet), _start(quiet)
    from popinfer.run import stages
    from popinfer.run.prepare import prepare

    stages.search(prepare(config, out, say), say, fresh=fresh)


class _FileFirst(TyperGroup):
    """A group whose first word may be a file in the place of a command: that of the command ``file``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in."""
        if args and args[0] not in (*self.commands, "--help"):
            args = ["file", *args]
        return super().parse_args(ctx, args)


halos_app = typer.Typer(cls=_FileFirst, no_args_is_help=True, help="Halos of a run, and of a simulation.")
app.add_typer(halos_app, name="halos")


@halos_app.command("file")
def halos(file: RunFile, out: Out = None, quiet: Quiet = False) -> None:
    """Describe a run's simulation, and draw the halos that the model is integrated over.

    The name of this command may be left out: popinfer halos FILE. Without a search, a simulation is described
    only.
    """
    config, say = _read(file, quiet), _start(quiet)
    from popinfer.run.folder import RunFolder
    from popinfer.run.simulation import describe, simulation_of

    folder = RunFolder(Path("results") / config.name if out is None else out)
    if simulation_of(config) is not None:
        for line in describe(config, say):
            typer.echo(line)
        if not folder.search.is_file():
            return
    from popinfer.run import stages
    from popinfer.run.prepare import prepare

    stages.halos(prepare(config, out, say), say)


@halos_app.command("fit-trees")
def fit_trees(
    trees: Annotated[
        list[str], typer.Argument(help="Merger tree files (or a pattern), then the file to write (.h5).")
    ],
    redshift: Annotated[float | None, typer.Option(help="Of the snapshot; the last when absent.")] = None,
    h0: Annotated[
        float | None,
        typer.Option("--h0", min=30, max=120, help="Hubble constant [km/s/Mpc], where trees don't say it."),
    ] = None,
    om0: Annotated[
        float | None, typer.Option("--om0", min=0.06, max=1, help="Matter density, where trees don't say it.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Fit the mass histories of merger trees once, into a halo catalog that runs read in seconds."""
    say = _start(quiet)
    from popinfer.run.simulation import fit_tree_files

    made = fit_tree_files(trees, redshift, (h0, om0), say)
    if not quiet:
        typer.echo(
            f"{made.n_fitted:,} of {made.n_halos:,} halos fitted; residuals: median {made.rms_median:.3f} "
            f"dex, 95 % below {made.rms_p95:.3f}"
        )
        typer.echo(made.path)


@app.command()
def fit(file: RunFile, out: Out = None, quiet: Quiet = False) -> None:
    """Find the best population and how well it is known."""
    config, say = _read(file, quiet), _start(quiet)
    from popinfer.run import stages
    from popinfer.run.prepare import prepare

    ready = prepare(config, out, say)
    result = stages.fit(ready, say)
    if not quiet:
        typer.echo("\n".join([*result.lines(ready.model.space.names), str(ready.folder.fit)]))


@app.command()
def fisher(file: RunFile, out: Out = None, quiet: Quiet = False) -> None:
    """Rank the free parameters by what the data can tell, and name degenerate combinations."""
    config, say = _read(file, quiet), _start(quiet)
    from popinfer.run import stages
    from popinfer.run.prepare import prepare

    ready = prepare(config, out, say)
    found, where = stages.fisher(ready, say)
    if not quiet:
        typer.echo(f"{found}\nAt the {where}; in units of each prior's standard deviation.")
        typer.echo(ready.folder.fisher)


@app.command()
def sample(
    file: RunFile,
    out: Out = None,
    quiet: Quiet = False,
    allow_unconverged: Unconverged = False,
    allow_misfit: Misfit = False,
) -> None:
    """Draw from the posterior and predict."""
    config, say = _read(file, quiet), _start(quiet)
    from popinfer.run import stages
    from popinfer.run.prepare import prepare

    ready = prepare(config, out, say)
    allowed = (allow_unconverged, allow_misfit)
    _finish(stages.sample(ready, say), ready.folder.posterior, quiet, allowed)


@app.command()
def report(
    where: Annotated[Path, typer.Argument(help="Run file, or a run's folder.")],
    out: Out = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Write report.pdf too; needs WeasyPrint, the extra 'pdf'.")
    ] = False,
    quiet: Quiet = False,
    allow_unconverged: Unconverged = False,
    allow_misfit: Misfit = False,
) -> None:
    """Write the page to read, its tables and citations from the stored draws."""
    config = None if where.is_dir() else _read(where, quiet)
    say = _start(quiet)
    from popinfer.run import stages
    from popinfer.run.folder import RunFolder

    folder = RunFolder(out or (where if config is None else Path("results") / config.name))
    if config is not None:
        stages.refuse_other_run(folder, config)
    allowed = (allow_unconverged, allow_misfit)
    _finish(stages.report(folder, say, pdf=pdf), folder.report, quiet, allowed)


@app.command()
def mock(  # noqa: PLR0913, PLR0917 (options of a command)
    file: RunFile,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            callback=expanded,
            help="Catalog to write: .parquet, .fits, .hdf5 or .h5; without --on-halos .csv and .ecsv, too.",
        ),
    ],
    values: Annotated[
        list[str] | None, typer.Option("--set", help="True value of a parameter, name=value; repeatable.")
    ] = None,
    n_galaxies: Annotated[
        int | None, typer.Option(min=1, help="Galaxies a slice; as many as the real catalog when absent.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of halos, noise and the choice of galaxies.")
    ] = 1,
    on_halos: Annotated[
        bool, typer.Option("--on-halos", help="A galaxy on every halo of the run's simulation.")
    ] = False,
    draws: Annotated[
        int, typer.Option("--draws", min=0, help="With --on-halos: posterior draws; the best fit when 0.")
    ] = 0,
    results: Annotated[
        Path | None,
        typer.Option("--results", callback=expanded, help="With --on-halos: folder of the run's results."),
    ] = None,
    lines: Annotated[
        str,
        typer.Option(
            "--lines", help="With --on-halos: lines' luminosities, 'H1_6562.80A,O3_5006.84A' or all."
        ),
    ] = "",
    quiet: Quiet = False,
) -> None:
    """Make a catalog from the model, its truth beside it, and a run file for it; or galaxies on halos."""
    if file.is_file():  # anything else is read once only
        _read(file, quiet)
    say = _start(quiet)
    if on_halos:
        from popinfer.run.mock import parse_values
        from popinfer.run.paint import PaintSpec, paint

        wanted = tuple(name.strip() for name in lines.split(",") if name.strip())
        painted = paint(file, out, PaintSpec(draws, parse_values(values or []), seed, results, wanted), say)
        if not quiet:
            outside = f", {painted.n_outside:,} outside the slices" if painted.n_outside else ""
            typer.echo(f"{painted.n_halos:,} halos, {painted.n_selected:,} galaxies listed{outside}")
            typer.echo(painted.path)
        return
    from popinfer.run.mock import MockSpec, make_mock, parse_values

    made = make_mock(file, out, MockSpec(parse_values(values or []), n_galaxies, seed), say)
    if not quiet:
        typer.echo("\n".join(str(path) for path in made))


@app.command()
def calibrate(  # noqa: PLR0913, PLR0917 - an argument an option
    file: RunFile,
    n: Annotated[int, typer.Option("--n", help="Simulated surveys.")] = 200,
    processes: Annotated[int, typer.Option(help="Processes that share the work.")] = os.cpu_count() or 1,
    sabotage: Annotated[
        str,
        typer.Option(help="Make an error that has to be found: half_covariance, no_halo_noise."),
    ] = "none",
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Of the surveys; the run file's when absent.")
    ] = None,
    out: Out = None,
    quiet: Quiet = False,
    fresh: Fresh = False,
) -> None:
    """Simulate surveys from the prior, analyse each, and test whether the posteriors cover the truth."""
    config, say = _read(file, quiet), _start(quiet)
    from popinfer.report import write_calibration
    from popinfer.run.calibrate import CalibrateSpec
    from popinfer.run.calibrate import calibrate as run_trials

    found, folder = run_trials(config, CalibrateSpec(n, processes, sabotage, seed, fresh), out, say)
    page = write_calibration(found, folder.path)
    if not quiet:
        typer.echo(f"{'CALIBRATED' if found.passed else 'NOT CALIBRATED'}\n{page}")
    if not found.passed:
        raise NotConvergedError(found.failure)


@app.command()
def doctor(
    quiet: Quiet = False,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", help="A run's posterior.nc: evaluate the points without a number again."),
    ] = None,
) -> None:
    """Versions, devices, precision, embedded data, and a short self-test."""
    _start(quiet, any_device=replay is None)
    if replay is not None:
        name_code(quiet)
        from popinfer.run.replay import replay as evaluated_again

        typer.echo(evaluated_again(replay))
        return
    from popinfer import precision

    missing = precision.missing_devices()
    if missing:  # before modules are imported that ask for a device
        precision.use_any_device()
    from popinfer.run.doctor import examine

    text, healthy = examine(missing)
    if not quiet or not healthy:
        typer.echo(text)
    if not healthy:
        raise typer.Exit(1)


app.add_typer(explore_app)


def main(arguments: list[str] | None = None) -> int:
    """Entry point: run a command, turn errors into one line each and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale may lack characters that names and units have
            stream.reconfigure(errors="backslashreplace")
    # ArviZ 0.23 announces its next series to whoever imports it first each day
    warnings.filterwarnings("ignore", "\nArviZ is undergoing", FutureWarning)
    if arguments is None:  # a process of popinfer's own
        from popinfer.signals import leave_on_signals

        leave_on_signals()
    try:
        code = int(app(arguments, prog_name="popinfer", standalone_mode=False) or 0)
        # typer turns Ctrl-C into this code or into an exception, depending on its version
        return code if code != _INTERRUPTED else _fail(["interrupted"], _INTERRUPTED)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and _completes(sys.argv[1:] if arguments is None else arguments):
            return int(error.code or 0)  # typer's way to end after what a shell has asked for
        if isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError):
            return _UNREAD  # whoever reads the output, as `head`, has enough of it
        code, lines = _explained(error)
        if not lines:
            raise
        return _fail(lines, code)


def _completes(arguments: Sequence[str]) -> bool:
    """Whether a shell asks what words may follow, or a person for a shell to ask."""
    options = ("--show-completion", "--install-completion")
    return "_POPINFER_COMPLETE" in os.environ or any(word in options for word in arguments)


def _explained(error: BaseException) -> tuple[int, Sequence[str]]:
    """Exit code of an exception, and what to tell the user; no lines for a bug."""
    if isinstance(error, SystemExit):  # popinfer itself exits at its end only
        ends = f"code that the run file names ends the program (exit {error}) where it has to return"
        error = InputError(ends)
    if isinstance(error, InputError):
        return 2, error.lines
    if isinstance(error, NotConvergedError | MisfitError):
        return 3 if isinstance(error, NotConvergedError) else 4, [str(error)]
    # typer's own errors are of whichever click it brings along
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return _INTERRUPTED, ["interrupted"]
    if isinstance(error, OSError):
        known = error.filename is not None and error.strerror
        return 2, [shortened(f"{error.filename}: {error.strerror}" if known else str(error), 400)]
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return 2, [_MEMORY]
    return 2, [shortened(error.format_message(), 400)] if hasattr(error, "format_message") else []


def _fail(lines: Sequence[str], code: int) -> int:
    for line in lines:
        print(f"popinfer: {shortened(' '.join(line.split()), 4000)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
