"""The run file's sections on the model: its components, values that are held, and priors of what is free."""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from popinfer.components import ROLES, Component, load_component
from popinfer.config.section import ComponentConfig, Section
from popinfer.errors import percent
from popinfer.params import Declaration, Prior

# of a prior's mass outside the domain; a normal prior's beyond 3.1 standard deviations
_MAX_OUTSIDE = 1e-3
# of a normal inside its truncation; 3.7 standard deviations away single precision can't tell quantiles apart
_MIN_INSIDE = 1e-4
_BY_INFALL = "sfh.satellite_quenching"
# width of a prior in units of the domain's; below, the parameter is fixed for all purposes
_MIN_WIDTH = 1e-6


def _default(role: str) -> Any:
    return ComponentConfig(kind=next(iter(ROLES[role].kinds)))


class CosmologyConfig(Section):
    """Flat cosmology of ages, distances and volumes, in astropy's names: ``H0`` in km/s/Mpc.

    ``Ob0`` sets the baryon fraction of accreting halos; when absent it is the 0.156 of diffstar, which its
    calibrations were made with.
    """

    H0: float = Field(ge=30, le=120, description="Hubble constant.", json_schema_extra={"unit": "km/s/Mpc"})
    Om0: float = Field(gt=0.05, lt=1, description="Matter density at z = 0 in units of the critical one.")
    w0: float = Field(default=-1.0, ge=-3, le=0, description="Dark energy's equation of state at z = 0.")
    wa: float = Field(default=0.0, ge=-3, le=3, description="Its change with the scale factor.")
    Ob0: float | None = Field(
        default=None, gt=0, lt=0.2, description="Density of baryons likewise; 0.156 Om0 when absent."
    )

    @model_validator(mode="after")
    def _fewer_baryons_than_matter(self) -> "CosmologyConfig":
        if self.Ob0 is not None and self.Ob0 >= self.Om0:
            raise ValueError(f"Ob0 {self.Ob0:g}: has to be less than Om0, {self.Om0:g}")
        return self


class ModelConfig(Section):
    """Components of the forward model, one a role, and parameters held at values other than fiducial.

    ``popinfer params FILE`` lists the parameters that the components have. ``satellite_quenching`` is
    ``infall``, diffstarpop's dependence on when satellites fell in, or ``off``, which holds its amplitude
    ``sfh.satellite_quenching`` at zero.
    """

    sfh: ComponentConfig = Field(
        default=_default("sfh"),
        description=(
            "Star formation histories of main-sequence and quenched galaxies, and how many are quenched."
        ),
    )
    metallicity: ComponentConfig = Field(
        default=_default("metallicity"), description="Mean and width of log10 Z of a galaxy's stars."
    )
    dust: ComponentConfig = Field(
        default=_default("dust"),
        description="A_V of a galaxy, and the share of its light that meets no dust.",
    )
    dust_law: ComponentConfig = Field(
        default=_default("dust_law"), description="A_lambda / A_V against wavelength."
    )
    birth_cloud: ComponentConfig = Field(
        default=_default("birth_cloud"), description="What young stars and their gas meet besides."
    )
    nebular: ComponentConfig = Field(
        default=_default("nebular"),
        description="Ionisation, metallicity and escape fraction of the gas around young stars.",
    )
    burstiness: ComponentConfig = Field(
        default=_default("burstiness"), description="Recent star formation about the smooth history."
    )
    satellites: ComponentConfig = Field(
        default=_default("satellites"), description="Which subhalos host galaxies."
    )
    template: ComponentConfig = Field(
        default=_default("template"), description="Errors of stellar population synthesis in the rest frame."
    )
    zero_point: ComponentConfig = Field(
        default=_default("zero_point"), description="Errors of the survey's zero points."
    )
    satellite_quenching: Literal["infall", "off"] = Field(
        default="infall",
        description=(
            "Whether satellites quench the more the longer ago they fell in (infall), or like centrals (off)."
        ),
    )
    ssp: str | None = Field(
        default=None,
        description="HDF5 file of stellar populations in the DSPS layout; the embedded grid when absent.",
    )
    fixed: dict[str, float] = Field(
        default={},
        description="Values of parameters that are held, by name; others stay at those of their component.",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_infall(cls, content: Any) -> Any:
        if not isinstance(content, dict) or content.get("satellite_quenching") != "off":
            return content
        fixed = content.get("fixed") or {}
        if not isinstance(fixed, dict):
            return content
        if fixed.get(_BY_INFALL, 0.0) != 0.0:
            raise ValueError(f"satellite_quenching is off, and fixed has {_BY_INFALL}: keep one")
        return {**content, "fixed": {**fixed, _BY_INFALL: 0.0}}

    def component(self, role: str, bands: tuple[str, ...]) -> Component | None:
        """The component of a role, in a survey's bands.

        Raises
        ------
        InputError
            There is no such component, or a setting can't be used.
        """
        section: ComponentConfig = getattr(self, role)
        settings = section.settings
        if role == "zero_point" and section.kind != "none":
            settings = {"bands": bands} | settings
        return load_component(role, section.kind, settings)

    def components(self, bands: tuple[str, ...]) -> dict[str, Any]:
        """Components of all roles; see `component`."""
        return {role: self.component(role, bands) for role in ROLES}


class PriorConfig(Section):
    """Prior of a free parameter in its physical unit."""

    prior: Literal["normal", "truncnormal", "uniform", "lognormal", "default"] = Field(
        default="normal",
        description=(
            "Shape: normal and lognormal take loc and scale, uniform low and high, truncnormal all "
            "four; default is what the parameter's component declares, as an empty section is."
        ),
    )
    loc: float | None = Field(default=None, description="Mean of the normal; median of the lognormal.")
    scale: float | None = Field(
        default=None, description="Standard deviation of the normal; scatter in ln of the lognormal."
    )
    low: float | None = Field(default=None, description="Lowest value.")
    high: float | None = Field(default=None, description="Highest value.")

    @model_validator(mode="before")
    @classmethod
    def _default_when_empty(cls, content: Any) -> Any:
        return content if content not in (None, {}, "default") else {"prior": "default"}

    @model_validator(mode="after")
    def _complete(self) -> "PriorConfig":
        wanted = {"loc", "scale"} if self.prior not in ("uniform", "default") else set()
        wanted |= {"low", "high"} if self.prior in ("uniform", "truncnormal") else set()
        if set(self.numbers()) != wanted:
            names = ", ".join(sorted(wanted)) or "no numbers"
            raise ValueError(f"prior {self.prior} takes {names}: all of them and nothing else")
        if self.scale is not None and not self.scale > 0:
            raise ValueError(f"prior {self.prior}: scale is {self.scale:g}, must be > 0")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"prior {self.prior}: low {self.low:g} must be below high {self.high:g}")
        if self.prior == "lognormal" and self.loc is not None and not self.loc > 0:
            raise ValueError(f"prior lognormal: median loc is {self.loc:g}, must be > 0")
        return self

    def numbers(self) -> dict[str, float]:
        """The numbers that were given."""
        every = {"loc": self.loc, "scale": self.scale, "low": self.low, "high": self.high}
        return {name: value for name, value in every.items() if value is not None}

    def prior_of(self) -> Prior | None:
        """The prior; None for the one that the parameter's component declares."""
        return None if self.prior == "default" else Prior(self.prior, **self.numbers())

    def outside(self, declaration: Declaration) -> str:
        """What is wrong with this prior of a declared parameter; "" when it suits its domain."""
        if self.prior == "default":
            return "" if declaration.prior is not None else "has no default prior; give one"
        if self.prior == "truncnormal":
            inside = self._mass(*self._range())
            if inside < _MIN_INSIDE:
                return (
                    f"prior truncnormal: only {inside:.1g} of the normal with loc {self.loc:g} and scale "
                    f"{self.scale:g} lies within [{self.low:g}, {self.high:g}]; move loc into the range"
                )
        width = declaration.high - declaration.low
        if self._width() < _MIN_WIDTH * width:
            return f"prior {self.prior} is only {self._width():.1g} wide; hold the parameter in model.fixed"
        beyond = self._beyond(declaration)
        if beyond <= _MAX_OUTSIDE:
            return ""
        why = f" ({declaration.why})" if declaration.why else ""
        return (
            f"{percent(beyond)} of this prior lies outside the domain, {declaration.domain}{why}; "
            f"use {self._suggested(declaration)}"
        )

    def _range(self) -> tuple[float, float]:
        """Values that the prior allows."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return (0.0, math.inf) if self.prior == "lognormal" else (low, high)

    def _width(self) -> float:
        """Standard deviation, or so, in the parameter's unit."""
        low, high = self._range()
        if self.prior == "lognormal":
            return self._number("loc") * self._number("scale")
        return min(self.numbers().get("scale", math.inf), high - low)

    def _number(self, name: str) -> float:
        return self.numbers()[name]

    def _mass(self, low: float, high: float) -> float:
        """Share of the untruncated distribution between two values."""
        if self.prior == "uniform":
            return (high - low) / (self._number("high") - self._number("low"))
        loc, scale = self._number("loc"), self._number("scale") * math.sqrt(2)
        if self.prior == "lognormal":
            a, b = ((math.log(x / loc) if x > 0 else -math.inf) / scale for x in (low, high))
        else:
            a, b = ((x - loc) / scale for x in (low, high))
        # of the two tails the smaller one, so that small shares keep their digits
        return 0.5 * (math.erfc(a) - math.erfc(b)) if a > 0 else 0.5 * (math.erfc(-b) - math.erfc(-a))

    def _beyond(self, declaration: Declaration) -> float:
        """Share of the prior outside a domain."""
        low, high = self._range()
        total = self._mass(low, high)
        below = self._mass(low, min(high, declaration.low)) if low < declaration.low else 0.0
        above = self._mass(max(low, declaration.high), high) if high > declaration.high else 0.0
        return (below + above) / total

    def _suggested(self, declaration: Declaration) -> str:
        """A prior like this one that stays inside a domain, as the run file spells it."""
        low, high = self._range()
        low, high = max(low, declaration.low), min(high, declaration.high)
        if not low < high:
            low, high = declaration.low, declaration.high
        limits = f"low: {low:g}, high: {high:g}"
        if self.prior == "uniform":
            return f"{{prior: uniform, {limits}}}"
        loc = min(max(self._number("loc"), low), high)
        scale = self._number("scale") * (loc if self.prior == "lognormal" else 1.0)
        # a scale beyond the range's width is as good as a flat prior
        scale = min(max(scale, _MIN_WIDTH * (high - low)), high - low)
        return f"{{prior: truncnormal, loc: {loc:g}, scale: {scale:g}, {limits}}}"
