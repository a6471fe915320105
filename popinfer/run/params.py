"""The table of parameters that a run file can free or fix."""

from popinfer.components import declarations
from popinfer.config import RunConfig
from popinfer.model import free_space
from popinfer.population.parameters import declared_parameters, fiducial_params, with_values
from popinfer.run.build import build_forward, fixed_values

_COLUMNS = ("parameter", "state", "value", "prior", "domain", "meaning")


def parameter_table(config: RunConfig, *, everything: bool = False) -> str:
    """Lines for a person: what each parameter is and what the run file does with it.

    Parameters
    ----------
    config : RunConfig
        The run file.
    everything : bool
        List parameters too that have no default prior, if they are neither free nor fixed.

    Returns
    -------
    str
        One line a parameter. Its state is ``free``, ``fixed`` or empty, where it stays at the value of its
        component; the prior of a parameter that isn't free is what ``{}`` in ``free`` would give it.
    """
    forward = build_forward(config)
    fixed = fixed_values(config, forward)
    declared = declared_parameters(forward.components)
    space = free_space({name: prior.prior_of() for name, prior in config.free.items()}, declared)
    values = with_values(fiducial_params(forward.components), fixed)
    priors, rows = {free.name: free.prior for free in space.free}, []
    for group, part in zip(values._fields, values, strict=True):
        if group == "photoz" and config.catalog.photoz is None:
            continue
        for label, field in declarations(type(part)).items():
            name, declaration = f"{group}.{label}", field.declaration
            state = "free" if name in space.names else "fixed" if name in fixed else ""
            prior = priors.get(name, declaration.prior)
            if prior is None and not state and not everything:
                continue
            value = "" if state == "free" else f"{float(getattr(part, field.name)):.4g}"
            shown = "-" if prior is None else str(prior)
            rows.append((name, state, value, shown, declaration.domain, declaration.meaning))
    widths = [max(len(row[i]) for row in (_COLUMNS, *rows)) for i in range(len(_COLUMNS) - 1)]
    lines = [
        "  ".join((*(f"{cell:{w}}" for cell, w in zip(row, widths, strict=False)), row[-1]))
        for row in (_COLUMNS, *rows)
    ]
    return "\n".join(lines)
