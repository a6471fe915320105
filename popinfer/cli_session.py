"""What commands have in common: their arguments, and what is done before any of them works."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from popinfer import environment
from popinfer.errors import InputError

if TYPE_CHECKING:
    from popinfer.config import RunConfig


def expanded(path: Path | None) -> Path | None:
    """Replace ``~``, which shells leave alone in ``--out=~/results``."""
    return path if path is None else Path(os.path.expanduser(path))


RunFile = Annotated[Path, typer.Argument(help="Run file (YAML).")]
Out = Annotated[
    Path | None,
    typer.Option("--out", callback=expanded, help="Folder of results; results/<name> when absent."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def start(quiet: bool, *, any_device: bool = False) -> Any:
    """Folders, precision, device and compilation cache, once a process; the reporter that stages talk to."""
    lines = environment.settle()
    try:
        from popinfer import precision
    except ValueError as error:  # JAX's own environment variables
        raise InputError(f"JAX can't start: {error}") from None
    from popinfer.run.progress import Silent, Terminal

    precision.start(cache_dir=environment.cache_folder())
    missing = "" if any_device else precision.missing_devices()
    if missing:
        raise InputError(f"{missing}: JAX has no such device here; 'popinfer doctor' tells which there are")
    say = Silent() if quiet else Terminal()
    for line in lines:
        say.say(line)
    return say


def read_run_file(file: Path, quiet: bool) -> "RunConfig":
    """Check the run file first, before diffstar and the data are loaded."""
    from popinfer.config import load_config

    name_code(quiet)
    return load_config(file)


def name_code(quiet: bool) -> None:
    """Say which code a run file names before it runs; not among results, which other programs may read."""
    from popinfer.user_code import announce

    announce(None if quiet else partial(typer.echo, err=True))
