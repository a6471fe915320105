"""Which parameters several surveys have in common: a matter of names.

A parameter such as ``dust.lg_av`` is one of the population, for all surveys alike. So is ``zero_point.g``,
for all surveys with a band g, and ``photoz.scatter``, for all with photometric redshifts. A name that begins
with a survey's, ``sdss.zero_point.g``, is of the survey of that name alone.
"""

from collections.abc import Iterable, Mapping, Sequence

from popinfer.errors import InputError
from popinfer.model.population import free_space
from popinfer.model.survey import Survey
from popinfer.params import Declaration, FreeParam, ParamSpace, Prior
from popinfer.population.forward import ForwardModel
from popinfer.population.parameters import ModelParams, declared_parameters, unknown_name


def check_survey_names(surveys: Sequence[Survey]) -> None:
    """Refuse names by which parameters can't be told apart.

    Raises
    ------
    InputError
        There is no survey, two have one name, or a name is that of a group of parameters or has a dot.
    """
    if not surveys:
        raise InputError("no survey: give at least one")
    groups = ModelParams._fields
    named = [survey.name for survey in surveys if survey.name]
    for name in named:
        if "." in name or name in groups:
            raise InputError(f"survey '{name}': has to be called otherwise: parameters are called like that")
        if named.count(name) > 1:
            raise InputError(f"survey '{name}': two surveys have this name")


def split_name(name: str, surveys: Sequence[Survey]) -> tuple[str, str]:
    """The survey whose own a parameter is, "" for one that surveys share, and the parameter's name there."""
    owner, _, rest = name.partition(".")
    return (owner, rest) if owner and owner in {survey.name for survey in surveys} else ("", name)


def names_for(
    survey: Survey, given: Iterable[str], surveys: Sequence[Survey], forward: ForwardModel
) -> dict[str, str]:
    """Parameters that one of several surveys has: its name for each -> the name as given.

    Raises
    ------
    InputError
        Two of the given names are of one parameter of the survey.
    """
    names: dict[str, str] = {}
    for name in given:
        owner, local = split_name(name, surveys)
        if owner not in ("", survey.name) or not _has(survey, local, forward):
            continue
        if local in names:
            raise InputError(f"{name}: is {names[local]} of survey '{survey.name}'; give one of the two")
        names[local] = name
    return names


def _declared(survey: Survey, forward: ForwardModel) -> dict[str, Declaration]:
    return declared_parameters(forward.in_bands(survey.bands).components)


def _has(survey: Survey, name: str, forward: ForwardModel) -> bool:
    if name.startswith("photoz.") and survey.photoz is None:
        return False
    return not unknown_name(name, _declared(survey, forward))


def survey_with(name: str, surveys: Sequence[Survey], forward: ForwardModel) -> Survey:
    """The first survey that has a parameter.

    Raises
    ------
    InputError
        None has.
    """
    owner, local = split_name(name, surveys)
    asked = [survey for survey in surveys if owner in ("", survey.name)]
    for survey in asked:
        if _has(survey, local, forward):
            return survey
    wrong = unknown_name(local, _declared(asked[0], forward)) or "no such survey has photometric redshifts"
    raise InputError(f"{name}: {wrong}")


def joint_space(
    free: Mapping[str, Prior | None], surveys: Sequence[Survey], forward: ForwardModel
) -> ParamSpace:
    """Free parameters of all surveys together.

    Raises
    ------
    InputError
        A name is of no parameter of any survey.
    """
    params = []
    for name, prior in free.items():
        survey, (owner, local) = survey_with(name, surveys, forward), split_name(name, surveys)
        (param,) = free_space({local: prior}, _declared(survey, forward)).free
        params.append(
            FreeParam(name, param.prior, param.unit, f"{param.meaning}{f', {owner}' if owner else ''}")
        )
    return ParamSpace(tuple(params))
