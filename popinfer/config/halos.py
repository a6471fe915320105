"""The run file's section on halos: how many, down to which mass, and where they come from."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from popinfer.config.section import Section

# log10 Msun: what the halo mass functions are tabulated for, between dwarf galaxies and rare clusters
LgHaloMass = Annotated[float, Field(ge=9, lt=14.3)]
Redshift = Annotated[float, Field(ge=0, le=20)]


class LightconeHalosConfig(Section):
    """Halos drawn from diffhalos' abundances: as many independent ones as are asked for."""

    kind: Literal["lightcone"] = Field(
        default="lightcone", description="Halos drawn from diffhalos' abundances."
    )


class BoxConfig(Section):
    """A periodic box at one snapshot or several."""

    kind: Literal["box"] = Field(description="A periodic box.")
    side_mpc: float | None = Field(
        default=None,
        gt=0,
        le=1e5,
        description="Comoving width of the box, without h; the file's own when absent.",
    )
    redshift: Redshift | list[Redshift] | None = Field(
        default=None, description="Redshift of the snapshot, or of several; the file's own when absent."
    )


class ConeConfig(Section):
    """A lightcone of a solid angle, on which each halo has a redshift."""

    kind: Literal["lightcone"] = Field(description="A lightcone, on which each halo has a redshift.")
    area_deg2: float = Field(gt=0, le=41253, description="Solid angle of the lightcone.")


class HaloUnitsConfig(Section):
    """Units of a table's masses and lengths, where the file doesn't say them."""

    mass: str = Field(default="", description="Unit of masses, Msun or Msun/h; the file's own when empty.")
    length: str = Field(
        default="", description="Unit of lengths, such as Mpc, Mpc/h or kpc/h; the file's own when empty."
    )


class ResolutionConfig(Section):
    """Where a simulation stops to resolve halos: a mass, or particles of some mass."""

    lgm_min: LgHaloMass | None = Field(default=None, description="Lowest mass of a halo that is resolved.")
    particle_mass_msun: float | None = Field(default=None, gt=0, description="Mass of a particle.")
    min_particles: int = Field(default=300, ge=1, description="Particles of a halo that is resolved.")


class _SimulationConfig(Section):
    """What catalogs and trees have in common.

    ``below_resolution`` is what stands between ``halos.lgm_min`` and the mass that the simulation resolves:
    nothing (``none``), or halos of a drawn ``lightcone``.
    """

    path: str | list[str] = Field(description="File or pattern of the simulation's halos, or several.")
    format: str = Field(default="auto", description="Format of the files; auto goes by their content.")
    geometry: Annotated[BoxConfig | ConeConfig, Field(discriminator="kind")] = Field(
        description="Volume that the halos fill."
    )
    columns: dict[str, str] = Field(
        default={},
        description="Columns of the file by the quantity that they hold, where they are called otherwise.",
    )
    units: HaloUnitsConfig = Field(
        default=HaloUnitsConfig(), description="Units of masses and lengths, where the files don't say them."
    )
    resolution: ResolutionConfig | None = Field(
        default=None, description="Where the simulation stops to resolve halos."
    )
    below_resolution: Literal["none", "lightcone"] = Field(
        default="none",
        description=(
            "What stands between halos.lgm_min and the mass that the simulation resolves: nothing (none), "
            "or drawn halos (lightcone)."
        ),
    )
    satellites: Literal["infall", "none"] = Field(
        default="infall",
        description=(
            "Whether subhalos are used, with what the file says of their infall (infall), or centrals "
            "only (none)."
        ),
    )
    mass_function: Literal["check", "ignore"] = Field(
        default="check",
        description="Whether the halos' number is checked against the mass function of their cosmology.",
    )

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
    """A halo catalog."""

    kind: Literal["catalog"] = Field(description="A halo catalog: masses, perhaps diffmah parameters.")
    histories: Literal["auto", "given", "drawn"] = Field(
        default="auto",
        description=(
            "Mass histories: those given in the file, drawn at mass and time, or auto, what there is."
        ),
    )


class TreesHalosConfig(_SimulationConfig):
    """Merger trees."""

    kind: Literal["trees"] = Field(description="Merger trees, whose main branches are fitted.")
    histories: Literal["fit"] = Field(
        default="fit", description="Mass histories: fitted to the main branches."
    )
    max_unfit: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Largest share of the branches that may have too few points to be fitted.",
    )


SimulationConfig = CatalogHalosConfig | TreesHalosConfig


class HalosConfig(Section):
    """Size of the halo sample, and where its halos come from."""

    n_per_slice: int = Field(
        default=16384,
        ge=64,
        le=100_000_000,
        description=(
            "Halos of each slice, in 64 equal batches: more where each would have more than 4,096 "
            "halos, fewer, but 16 at least, where each would have less than 32. The scatter between "
            "batches is the halo sample's noise."
        ),
    )
    lgm_min: LgHaloMass | list[LgHaloMass] = Field(
        default=11.0, description="Lowest halo mass that is drawn, one for all slices or one each."
    )
    flatten: float = Field(
        default=1.0,
        ge=0.01,
        le=1,
        description=(
            "Power of the halo mass function that halos are drawn by; near zero, all masses are equally "
            "frequent."
        ),
    )
    pilot: dict[str, float] = Field(
        default={},
        description=(
            "Values of parameters near the expected answer: the search's first halos are drawn where "
            "that model's galaxies enter the sample. They change the noise, never the result's "
            "expectation."
        ),
    )
    source: Annotated[
        LightconeHalosConfig | CatalogHalosConfig | TreesHalosConfig, Field(discriminator="kind")
    ] = Field(
        default=LightconeHalosConfig(),
        description=(
            "Where halos come from: a drawn lightcone, or a catalog or merger trees of your own simulation."
        ),
    )
