"""What the simulated specimen is told: the slab, what is in it, and which part of it the views see."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from lamella.settings import setting

__all__ = ["SpecimenSettings"]


class SpecimenSettings(BaseModel):
    """Settings of the matter in the ice, and of the views as far as they decide how much of it is needed."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    seed: int = setting(1, "of every random number; the same seed gives the same bytes", ge=0)
    name: str = setting("TS", "beginning of the series' names: TS_01, TS_02, …", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    series: int = setting(1, "number of tilt series, each of a specimen of its own", ge=1, le=999)

    size: int = setting(512, "width and height of the tilt images", unit="px", ge=16, le=16384)
    width: int = setting(0, "of the tilt images; 0: `size`", unit="px", ge=0, le=16384)
    height: int = setting(0, "of the tilt images; 0: `size`", unit="px", ge=0, le=16384)
    pixel_size: float = setting(8.0, "of the tilt images", unit="Å", gt=0.1, le=100)

    axis: float = setting(86.7, "true tilt axis, mean over the views", unit="deg", ge=-360, le=360)
    tilt_range: float = setting(
        60.0, "the series goes from minus this angle to plus this angle", unit="deg", ge=0, le=80
    )
    start_tilt: float = setting(0.0, "nominal angle that the range of tilts lies around", unit="deg", ge=-40, le=40)
    dual_axis: bool = setting(False, "two series (a, b) of one specimen, the second turned by 90° in its plane")
    tilt_offset: float = setting(
        1.5, "tilt of the specimen's plane at a stage angle of 0 (pre-tilt of a lamella)", unit="deg", ge=-30, le=30
    )
    x_tilt: float = setting(0.8, "tilt of the specimen's plane along the axis", unit="deg", ge=-30, le=30)
    shift: float = setting(40.0, "rms in x and in y of where the specimen's centre appears", unit="Å", ge=0)

    thickness: float = setting(1600.0, "of the slab of ice that holds the specimen", unit="Å", gt=0, le=20000)
    bend: float = setting(
        0.0,
        "how far the slab's middle plane sags from its centre to the edge of the field",
        unit="Å",
        ge=-5000,
        le=5000,
    )
    ice_noise: float = setting(
        1.0, "strength of the ice's own granular structure, 1: that of vitreous ice, 0: none", ge=0, le=10
    )

    particles: int = setting(200, "in the field of view; the same density goes on around it", ge=0, le=200000)
    concentration: float = setting(
        0.0, "of the particles; above 0 it decides their number in place of `particles`", unit="µM", ge=0, le=1000
    )
    complexes: tuple[str, ...] = setting(
        ("ribosome",), "packaged models that the particles are, mixed evenly", min_length=1
    )
    models: tuple[str, ...] = setting(
        (),
        "files to use as particles in place of the packaged models, mixed evenly: atoms (PDB, mmCIF, also gzipped) "
        "or maps (MRC, mass positive)",
    )
    small_particles: int = setting(
        0, "smaller particles among the others, in the field of view and as dense around", ge=0, le=500000
    )
    small_complexes: tuple[str, ...] = setting(
        ("groel", "ternary_complex"), "packaged models that the smaller particles are, mixed evenly", min_length=1
    )
    b_factor: float = setting(
        20.0, "of the molecules' motion, added to the atoms' own B-factors", unit="Å²", ge=0, le=10000
    )

    vesicles: int = setting(2, "spheres of lipid bilayer in the field of view", ge=0, le=10000)
    vesicle_radius_min: float = setting(260.0, "least radius of a vesicle", unit="Å", gt=60, le=50000)
    vesicle_radius_max: float = setting(
        500.0, "largest radius of a vesicle; one that the slab has no room for is made smaller", unit="Å", gt=60
    )
    sheets: int = setting(0, "steep sheets of lipid bilayer that cross the field of view", ge=0, le=1000)
    membrane_proteins: float = setting(
        0.0, "membrane-bound particles per area of vesicles and sheets", unit="µm⁻²", ge=0, le=20000
    )
    membrane_complexes: tuple[str, ...] = setting(
        ("channel",), "packaged models that sit in membranes, mixed evenly", min_length=1
    )
    virions: int = setting(
        0,
        "spheres of bilayer with spikes outside and a lattice of capsomers inside, in the field of view",
        ge=0,
        le=1000,
    )
    virion_radius: float = setting(550.0, "mean radius of a virion's bilayer; 8 % spread", unit="Å", ge=200, le=5000)
    virion_spikes: int = setting(40, "on each virion", ge=0, le=2000)

    microtubules: int = setting(0, "of 13 protofilaments, across the field of view", ge=0, le=1000)
    actin: int = setting(0, "actin filaments across the field of view", ge=0, le=5000)

    beads: int = setting(8, "gold beads in the field of view", ge=0, le=100000)
    bead_diameter: float = setting(100.0, "of the gold beads", unit="Å", ge=10, le=1000)
    bead_surfaces: Literal["both", "top", "bottom", "inside"] = setting(
        "both", "the surfaces of the slab that the beads lie on, or anywhere inside it"
    )
    contamination: int = setting(0, "crystals of ice on the slab's surfaces, in the field of view", ge=0, le=10000)
    film: Literal["none", "edge", "corner"] = setting(
        "none", "a film that supports the slab and enters the field of view from one side or over a corner"
    )
    film_material: Literal["carbon", "gold"] = setting("carbon", "of the film; gold is opaque")
    film_thickness: float = setting(200.0, "of the film", unit="Å", gt=0, le=10000)

    @property
    def image_shape_px(self) -> tuple[int, int]:
        """(height, width) of the tilt images."""
        return self.height or self.size, self.width or self.size

    @model_validator(mode="after")
    def _specimen_fits(self) -> SpecimenSettings:
        if min(self.image_shape_px) < 16:
            raise ValueError(f"images of {self.image_shape_px[1]} × {self.image_shape_px[0]} px are too small to use")
        if self.beads and self.bead_diameter > self.thickness:
            raise ValueError(f"beads of {self.bead_diameter} Å do not fit into {self.thickness} Å of ice")
        if self.vesicle_radius_min > self.vesicle_radius_max:
            raise ValueError(
                f"the least radius of vesicles, {self.vesicle_radius_min} Å, is above the largest, "
                f"{self.vesicle_radius_max} Å"
            )
        return self
