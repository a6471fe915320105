"""The run file's section on halos: how many, down to which mass, and where they come from."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from popinfer.config.section import Section

# log10 Msun: what the halo mass functions are tabulated for, between dwarf galaxies and rare clusters
LgHaloMass = Annotated[float, Field(ge=9, lt=14.3)]
Redshift = Annotated[float, Field(ge=0, le=20)]


class LightconeHalosConfig(Section):
    """Halos drawn from diffhalos' abundances: as many independent ones as are asked for."""

    kind: Literal["lightcone"] = "lightcone"


class BoxConfig(Section):
    """A periodic box, ``side_mpc`` comoving Mpc wide (no h), at the ``redshift`` of one snapshot or several.

    Both are the file's where it says them.
    """

    kind: Literal["box"]
    side_mpc: float | None = Field(default=None, gt=0, le=1e5)
    redshift: Redshift | list[Redshift] | None = None


class ConeConfig(Section):
    """A lightcone of a solid angle, on which each halo has a redshift."""

    kind: Literal["lightcone"]
    area_deg2: float = Field(gt=0, le=41253)


class HaloUnitsConfig(Section):
    """Units of a table's masses and lengths, where the file doesn't say them: ``Msun`` or ``Msun/h``, ..."""

    mass: str = ""
    length: str = ""


class ResolutionConfig(Section):
    """Where a simulation stops to resolve halos: a mass, or particles of some mass."""

    lgm_min: LgHaloMass | None = None
    particle_mass_msun: float | None = Field(default=None, gt=0)
    min_particles: int = Field(default=300, ge=1)


class _SimulationConfig(Section):
    """What catalogs and trees have in common.

    ``below_resolution`` is what stands between ``halos.lgm_min`` and the mass that the simulation resolves:
    nothing (``none``), or halos of a drawn ``lightcone``.
    """

    path: str | list[str]
    format: str = "auto"
    geometry: Annotated[BoxConfig | ConeConfig, Field(discriminator="kind")]
    columns: dict[str, str] = Field(default={})
    units: HaloUnitsConfig = HaloUnitsConfig()
    resolution: ResolutionConfig | None = None
    below_resolution: Literal["none", "lightcone"] = "none"
    satellites: Literal["infall", "none"] = "infall"
    mass_function: Literal["check", "ignore"] = "check"

    @field_validator("path", mode="before")
    @classmethod
    def _some(cls, given: Any) -> Any:
        if isinstance(given, list) and not given:
            raise ValueError("has to name a file, or several")
        return given

    @property
    def paths(self) -> list[str]:
        """Files and patterns."""
        return [self.path] if isinstance(self.path, str) else self.path


class CatalogHalosConfig(_SimulationConfig):
    """A halo catalog: masses, perhaps diffmah parameters.

    ``histories`` are those ``given`` in the file, or ``drawn`` at mass and time; ``auto`` takes what there
    is.
    """

    kind: Literal["catalog"]
    histories: Literal["auto", "given", "drawn"] = "auto"


class TreesHalosConfig(_SimulationConfig):
    """Merger trees, whose main branches are fitted.

    ``max_unfit`` is the share of the branches that may have too few points.
    """

    kind: Literal["trees"]
    histories: Literal["fit"] = "fit"
    max_unfit: float = Field(default=0.05, ge=0, le=1)


SimulationConfig = CatalogHalosConfig | TreesHalosConfig


class HalosConfig(Section):
    """Size of the halo sample; ``lgm_min`` [log10 Msun] per slice or one for all.

    ``n_per_slice`` halos make up each slice's sample, in 64 equal batches: more where each would have more
    than 4,096 halos, fewer, but 16 at least, where each would have less than 32. The scatter between batches
    is the halo sample's noise. ``pilot`` holds parameter
    values near the expected answer: the search's first halos are drawn where that model's galaxies enter the
    sample. It changes the noise, never the result's expectation. ``flatten`` is the power of the halo mass
    function that halos are drawn by; near zero, all masses are equally frequent. ``source`` is where halos
    come from: a drawn ``lightcone``, or a ``catalog`` or merger ``trees`` of the user's own simulation.
    """

    n_per_slice: int = Field(default=16384, ge=64, le=100_000_000)
    lgm_min: LgHaloMass | list[LgHaloMass] = 11.0
    flatten: float = Field(default=1.0, ge=0.01, le=1)
    pilot: dict[str, float] = Field(default={})
    source: Annotated[
        LightconeHalosConfig | CatalogHalosConfig | TreesHalosConfig, Field(discriminator="kind")
    ] = LightconeHalosConfig()
