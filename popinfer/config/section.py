"""What all sections of a run file share: no unknown keys, finite numbers, paths with ``~`` expanded."""

import os
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator

# keys that name a file or a folder, in whatever section
PATH_KEYS = ("path", "covariance", "ssp", "filter")
# what file systems allow: bytes of a whole path and of a part of it
_LONGEST_PATH, _LONGEST_NAME = 4096, 255


class _Truth:
    """A truth value where a section has none: pydantic would read it as 1 or 0, and refuses this."""

    def __init__(self, value: bool) -> None:
        self._value = value

    def __repr__(self) -> str:
        return str(self._value).lower()


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, no NaN or infinity, no truth value for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        meant = {}
        for key, value in content.items():
            field = cls.model_fields.get(key)
            meant[key] = value if field is None else _without_truth(value, field.annotation)
            if key in PATH_KEYS and isinstance(value, str):
                try:
                    meant[key] = expanded(value)
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from None
        return meant


def expanded(path: str) -> str:
    """A path with ``~`` replaced by the home folder.

    Raises
    ------
    ValueError
        No file can have this path: it is empty or too long, or the home folder isn't known.
    """
    full = os.path.expanduser(path)
    if not path.strip():
        raise ValueError("is empty; a path or a name is needed")
    if full.startswith("~"):
        raise ValueError(f"the home folder of '{full.split('/')[0]}' isn't known; write the path in full")
    longest = max(len(os.fsencode(part)) for part in full.split("/"))
    if len(os.fsencode(full)) > _LONGEST_PATH or longest > _LONGEST_NAME:
        raise ValueError(
            f"no file has a path of {len(path)} characters: names of files and folders have at most "
            f"{_LONGEST_NAME}, whole paths {_LONGEST_PATH}"
        )
    return full


def _without_truth(value: Any, annotation: Any) -> Any:
    """A value with each truth value marked as such, unless the annotation allows one."""
    if _mentions(annotation, bool):
        return value
    if isinstance(value, bool):
        return _Truth(value)
    if _mentions(annotation, BaseModel):
        return value  # further sections look after their own
    if isinstance(value, dict):
        return {key: _without_truth(item, annotation) for key, item in value.items()}
    return [_without_truth(item, annotation) for item in value] if isinstance(value, list) else value


def _mentions(annotation: Any, wanted: type) -> bool:
    """Whether a type annotation contains a type or a subclass of it."""
    if isinstance(annotation, type) and issubclass(annotation, wanted):
        return True
    return any(_mentions(argument, wanted) for argument in get_args(annotation))
