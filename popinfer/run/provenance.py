"""What a run's results were made from, so that they are never mixed with those of another run.

A stage's fingerprint is a hash of its part of the configuration and of the data files; every file that it
leaves carries it in its seal. The folder's ``provenance.json`` holds the same in full, with the versions of
packages, so that a difference can be named.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

from popinfer.config import RunConfig
from popinfer.errors import shortened
from popinfer.storage import read_sealed, write_sealed

PACKAGES = (
    "popinfer",
    "jax",
    "jaxlib",
    "numpy",
    "equinox",
    "optax",
    "blackjax",
    "arviz",
    "diffmah",
    "diffstar",
    "diffhalos",
    "astro-sedpy",
    "h5py",
    "xarray",
)
# sections that a stage's result does not depend on
_IRRELEVANT = {
    "search": ("name", "sample", "predictive"),
    "halos": ("name", "sample", "predictive"),
    "fit": ("name", "sample", "predictive"),
    "sample": ("name",),
}
_MOST_NAMED = 4  # differences in one message


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    by_name = {"python": python_version()}
    for package in PACKAGES:
        try:
            by_name[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            by_name[package] = "not installed"
    return by_name


@functools.cache  # of what was loaded, though files may change while it runs
def code_hash() -> str:
    """Hash of the package's own source: results of many hours must not be mixed from two versions of it."""
    root, content = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return content.hexdigest()[:16]


def fingerprint(config: RunConfig, hashes: Mapping[str, str], stage: str) -> str:
    """Hash of what a stage's result depends on: its part of the configuration, the data files' hashes."""
    content = config.model_dump(mode="json", exclude=set(_IRRELEVANT[stage]))
    text = json.dumps([content, dict(hashes)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Provenance:
    """What results were made from.

    Attributes
    ----------
    config : dotted key of the run file -> value, as JSON text.
    files : data file or filter curve -> SHA-256 of its content.
    versions : package -> version.
    code : hash of popinfer's own source.
    """

    config: dict[str, str]
    files: dict[str, str]
    versions: dict[str, str]
    code: str

    @classmethod
    def of(cls, config: RunConfig, files: Mapping[str, str]) -> "Provenance":
        """Of a run file and its data, with the packages that are installed."""
        return cls(_flat(config.model_dump(mode="json")), dict(files), versions(), code_hash())

    @classmethod
    def read(cls, path: Path) -> "Provenance":
        """What `write` stored; InputError when it is absent or damaged."""
        return cls(**json.loads(read_sealed(path, "provenance", "run --fresh").content))

    def write(self, path: Path) -> None:
        """Store it as JSON."""
        write_sealed(path, (json.dumps(asdict(self), indent=2) + "\n").encode(), "provenance")

    @property
    def identity(self) -> str:
        """Hash of everything, packages and source included."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def config_differences(self, other: "Provenance", stage: str) -> list[str]:
        """How another run file differs in what a stage depends on, a phrase a difference."""
        ours, theirs = (
            {
                key: value
                for key, value in run.config.items()
                if key.partition(".")[0] not in _IRRELEVANT[stage]
            }
            for run in (self, other)
        )
        return _differences(ours, theirs)

    def differences(self, other: "Provenance", stage: str) -> list[str]:
        """How another run differs in what a stage depends on: run file, data, packages, source."""
        changed = [
            f"the content of {name}"
            for name in sorted({*self.files, *other.files})
            if self.files.get(name) != other.files.get(name)
        ]
        found = self.config_differences(other, stage) + changed
        found += _differences(self.versions, other.versions)
        return found + (["popinfer's own source"] if self.code != other.code else [])


def named(differences: list[str]) -> str:
    """The first few differences, for a message."""
    more = len(differences) - _MOST_NAMED
    return "; ".join(differences[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    absent = "absent"
    return [
        f"{key}: {shortened(ours.get(key, absent))} there, {shortened(theirs.get(key, absent))} here"
        for key in dict.fromkeys((*ours, *theirs))
        if ours.get(key) != theirs.get(key)
    ]


def _flat(content: Any, key: str = "") -> dict[str, str]:
    """Dotted key -> JSON text of everything that is no mapping."""
    if not isinstance(content, dict) or not content:
        return {key: json.dumps(content)}
    return {
        name: value
        for field, item in content.items()
        for name, value in _flat(item, f"{key}.{field}" if key else str(field)).items()
    }
