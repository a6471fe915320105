"""`RunSummary`: what a run did, apart from its draws, in a form that is stored as JSON."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from popinfer.errors import InputError
from popinfer.storage import read_sealed, write_sealed


@dataclass(frozen=True)
class RunSummary:
    """What was run, on what, and how well the best fit describes the data.

    Numbers that were not computed are NaN. JSON has no NaN: they are stored as null.

    Attributes
    ----------
    name : name of the run.
    posterior : hash of the file of draws that it belongs to.
    config_text : the resolved run file.
    versions : package name -> version.
    hashes : data file -> SHA-256.
    wall_time_s : stage -> seconds.
    n_galaxies : galaxies used, one number a redshift slice.
    dropped : (reason, number of rows) for every row that was left out.
    n_halos : simulated halos, all slices together.
    best_fit : parameter -> value at the highest posterior density, physical units.
    truth : parameter -> true value, for mock catalogs only.
    log_density_best : natural log of the unnormalised posterior density there.
    chi2, n_eff, p_value : chi-square of the soft counts at the best fit, the effective number of
        independent statistics it should be compared with, and its p-value.
    predictive_p_value : posterior predictive p-value of the chi-square, a mean over posterior draws.
    goodness_per_slice : the same four numbers as a mapping, one a slice.
    halo_share_max, halo_share_median : variance that the halo sample brings over the total variance of a soft
        count, largest and median over kernels.
    flat_directions : parameters, or combinations of them, whose profile is flat.
    starts : where each start of the search ended: ``start``, ``log_density``, ``distance`` from the best
        maximum (in units of posterior standard deviations).
    sampler : settings and costs (gradients evaluated, step size, ...), for display.
    warnings : sentences for the reader.
    priors : parameter -> description such as "normal(0, 0.3)".
    units : parameter -> unit, "" when it has none.
    meanings : parameter -> one line in plain words.
    """

    name: str
    posterior: str = ""
    config_text: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    wall_time_s: dict[str, float] = field(default_factory=dict)
    n_galaxies: tuple[int, ...] = ()
    dropped: tuple[tuple[str, int], ...] = ()
    n_halos: int = 0
    best_fit: dict[str, float] = field(default_factory=dict)
    truth: dict[str, float] = field(default_factory=dict)
    log_density_best: float = math.nan
    chi2: float = math.nan
    n_eff: float = math.nan
    p_value: float = math.nan
    predictive_p_value: float = math.nan
    goodness_per_slice: tuple[dict[str, float], ...] = ()
    halo_share_max: float = math.nan
    halo_share_median: float = math.nan
    flat_directions: tuple[str, ...] = ()
    starts: tuple[dict[str, Any], ...] = ()
    sampler: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    priors: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the summary as indented, strictly valid JSON."""
        return json.dumps(_plain(dataclasses.asdict(self)), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "RunSummary":
        """Read what `to_json` wrote.

        Raises
        ------
        InputError
            When the text is no JSON object, or has keys that a summary doesn't know.
        """
        try:
            stored = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"run summary is not JSON: {error}") from error
        if not isinstance(stored, dict) or "name" not in stored:
            raise InputError("run summary must be a JSON object with at least the key 'name'")
        unknown = set(stored) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise InputError(f"run summary has unknown keys {sorted(unknown)}: written by another version?")
        return cls(**{key: _from_stored(key, value) for key, value in stored.items()})

    def write(self, path: Path | str, identity: str = "-") -> None:
        """Store the summary as a JSON file; `identity` tells what the run was made from."""
        write_sealed(Path(path), (self.to_json() + "\n").encode(), "summary", identity)

    @classmethod
    def read(cls, path: Path | str) -> "RunSummary":
        """Read a stored summary; InputError names the file when it can't be read or is damaged."""
        return cls.from_json(read_sealed(Path(path), "summary", "sample").content.decode())


_NUMBERS = (
    *("log_density_best", "chi2", "n_eff", "p_value", "predictive_p_value"),
    *("halo_share_max", "halo_share_median"),
)
_NUMBER_TABLES = ("wall_time_s", "best_fit", "truth")


def _plain(value: Any) -> Any:
    """Turn NumPy scalars into Python's and NaN or infinity into None, at any depth."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy and JAX scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _from_stored(key: str, value: Any) -> Any:
    """Undo `_plain` for one field: null back to NaN where numbers live, lists back to tuples."""
    if key in _NUMBERS:
        return math.nan if value is None else float(value)
    if key in _NUMBER_TABLES:
        return _numbers_from_stored(value)
    if key == "goodness_per_slice":
        return tuple(_numbers_from_stored(row) for row in value)
    if key == "dropped":
        return tuple((str(reason), int(n)) for reason, n in value)
    return tuple(value) if isinstance(value, list) else value


def _numbers_from_stored(stored: dict[str, float | None]) -> dict[str, float]:
    return {name: math.nan if number is None else float(number) for name, number in stored.items()}
