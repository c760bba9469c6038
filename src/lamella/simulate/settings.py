"""What a simulation is told: the specimen, the microscope and its faults."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from lamella.settings import setting

__all__ = ["PRESETS", "SimulateSettings"]


class SimulateSettings(BaseModel):
    """Settings of `simulate`; the defaults are the preset ``quick``."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    seed: int = setting(1, "of every random number; the same seed gives the same bytes", ge=0)
    name: str = setting("TS", "beginning of the series' names: TS_01, TS_02, …", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    series: int = setting(1, "number of tilt series, each of a specimen of its own", ge=1, le=999)

    width: int = setting(512, "of the tilt images", unit="px", ge=16, le=16384)
    height: int = setting(512, "of the tilt images", unit="px", ge=16, le=16384)
    pixel_size: float = setting(8.0, "of the tilt images", unit="Å", gt=0.1, le=100)

    thickness: float = setting(1600.0, "of the slab of ice that holds the specimen", unit="Å", gt=0)
    particles: int = setting(200, "in the field of view; the same density goes on around it", ge=0)
    models: tuple[str, ...] = setting(
        (), "maps (MRC, mass positive) to use as particles instead of the built-in one of 260 Å; several are mixed"
    )
    vesicles: int = setting(2, "spheres of lipid bilayer in the field of view", ge=0)
    beads: int = setting(8, "gold beads in the field of view", ge=0)
    bead_diameter: float = setting(100.0, "of the gold beads", unit="Å", gt=0)

    voltage: float = setting(300.0, "acceleration voltage", unit="kV", ge=10, le=3000)
    spherical_aberration: float = setting(2.7, "Cs of the objective lens", unit="mm", ge=0, le=20)
    amplitude_contrast: float = setting(0.1, "fraction of the contrast of thin matter", ge=0, le=1)
    ctf: bool = setting(True, "apply the contrast transfer function; off: the images are the projected potential")
    defocus: float = setting(30000.0, "underfocus at the specimen's centre", unit="Å", ge=-200000, le=200000)
    defocus_spread: float = setting(600.0, "rms of its change from view to view", unit="Å", ge=0)
    hand: Literal[-1, 1] = setting(-1, "sign by which defocus grows with depth (rlnTomoHand)")

    tilt_range: float = setting(
        60.0, "the series goes from minus this angle to plus this angle", unit="deg", ge=0, le=80
    )
    tilt_step: float = setting(3.0, "between views; the order is dose-symmetric", unit="deg", gt=0)
    tilt_noise: float = setting(
        0.02, "rms of the stage angle about the nominal grid; the mdoc states it", unit="deg", ge=0
    )
    tilt_offset: float = setting(1.5, "tilt of the specimen's plane at a stage angle of 0", unit="deg", ge=-30, le=30)
    x_tilt: float = setting(0.8, "tilt of the specimen's plane along the axis", unit="deg", ge=-30, le=30)
    nominal_axis: float = setting(85.0, "tilt axis that the mdoc states", unit="deg", ge=-360, le=360)
    axis: float = setting(86.7, "true tilt axis, mean over the views", unit="deg", ge=-360, le=360)
    axis_variation: float = setting(0.1, "rms of the slow change of the true axis over the tilts", unit="deg", ge=0)
    shift: float = setting(40.0, "rms in x and in y of where the specimen's centre appears", unit="Å", ge=0)

    dose: float = setting(3.0, "of each view", unit="e/Å²", gt=0)
    noise: bool = setting(True, "Poisson noise of the dose, whole counts; off: expected counts as real numbers")
    damage: bool = setting(True, "fading of the structure with the dose it had (Grant & Grigorieff 2015)")
    mean_free_path: float = setting(
        3000.0, "of inelastic scattering in ice, which dims tilted views; 0 leaves them bright", unit="Å", ge=0
    )

    truth_binning: float = setting(2.0, "of the noise-free volume written beside the raw data", ge=1, le=64)

    @model_validator(mode="after")
    def _fits(self) -> SimulateSettings:
        if self.tilt_step > 2 * self.tilt_range > 0:
            raise ValueError(f"a tilt step of {self.tilt_step}° is larger than the whole range ±{self.tilt_range}°")
        if self.beads and self.bead_diameter > self.thickness:
            raise ValueError(f"beads of {self.bead_diameter} Å do not fit into {self.thickness} Å of ice")
        return self


PRESETS = MappingProxyType({"quick": SimulateSettings()})
