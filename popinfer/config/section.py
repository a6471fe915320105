"""What all sections of a run file share: no unknown keys, finite numbers, paths with ``~`` expanded."""

import os
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

# keys that name a file or a folder, in whatever section
PATH_KEYS = ("path", "covariance", "ssp", "filter")
# what file systems allow: bytes of a whole path and of a part of it
_LONGEST_PATH, _LONGEST_NAME = 4096, 255


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; a name is needed")
    return text


Name = Annotated[str, AfterValidator(_said)]  # of a column, a table, or anything else that has a name


class _NoNumber:
    """A truth value or a text with underscores, where pydantic would read a number; it refuses this."""

    def __init__(self, value: bool | str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return repr(self._value) if isinstance(self._value, str) else str(self._value).lower()


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
            meant[key] = value if field is None else _marked(value, field.annotation)
            if key in PATH_KEYS and isinstance(value, str):
                try:
                    meant[key] = expanded(value)
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from None
        return meant


class ComponentConfig(Section):
    """A component of the model: a built-in one by its kind, or ``module:Class`` of the user's own.

    A file is named with its ending, ``my_dust.py:MyLaw``, and looked for beside the run file too. Further
    keys are settings of the component. A text alone is the kind.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    kind: str = Field(
        min_length=1,
        description=(
            "Name of a built-in component, none, or module:Class of your own; further keys are its settings."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, content: Any) -> Any:
        if content is None:
            return {"kind": "none"}
        return {"kind": content} if isinstance(content, str) else content

    @property
    def settings(self) -> dict[str, Any]:
        """Values of the component's own keys."""
        return dict(self.model_extra or {})


def own_component(content: Any, *, with_settings: bool, beside: tuple[str, ...] = ()) -> Any:
    """A section whose kind is ``module:Class`` as one of kind ``own``.

    Parameters
    ----------
    content : Any
        As the run file has it; anything else is left alone.
    with_settings : bool
        Gather further keys as the class' settings.
    beside : tuple[str, ...]
        Keys that are the section's own and no settings.
    """
    kind = content.get("kind") if isinstance(content, dict) else None
    if not isinstance(kind, str) or ":" not in kind:
        return content
    further = {key: value for key, value in content.items() if key != "kind"}
    kept = {key: value for key, value in further.items() if key in beside}
    settings = {key: value for key, value in further.items() if key not in beside}
    if with_settings:
        further = kept | ({"settings": settings} if settings else {})
    return {"kind": "own", "component": kind, **further}


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


def _marked(value: Any, annotation: Any) -> Any:
    """A value with truth values, and texts like ``1_000``, marked unless the annotation allows them."""
    if _mentions(annotation, bool):
        return value
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value and _numeric(annotation)):
        return _NoNumber(value)
    if _mentions(annotation, BaseModel):
        return value  # further sections look after their own
    if isinstance(value, dict):
        return {key: _marked(item, annotation) for key, item in value.items()}
    return [_marked(item, annotation) for item in value] if isinstance(value, list) else value


def _numeric(annotation: Any) -> bool:
    """Whether an annotation allows numbers and, but for the keys of mappings, no text."""
    if get_origin(annotation) is dict:
        return _numeric(get_args(annotation)[1])
    numbers = _mentions(annotation, float) or _mentions(annotation, int)
    return numbers and not _mentions(annotation, str)


def _mentions(annotation: Any, wanted: type) -> bool:
    """Whether a type annotation contains a type or a subclass of it."""
    if isinstance(annotation, type) and issubclass(annotation, wanted):
        return True
    return any(_mentions(argument, wanted) for argument in get_args(annotation))
