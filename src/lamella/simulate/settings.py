"""What a simulation is told: the specimen, the microscope and its faults, the camera and the scheme of tilts."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from lamella.settings import setting
from lamella.simulate.specimen_settings import SpecimenSettings

__all__ = ["SimulateSettings"]


class SimulateSettings(SpecimenSettings):
    """Settings of `simulate`; the defaults are the preset ``quick``."""

    scheme: Literal["dose-symmetric", "bidirectional", "unidirectional"] = setting(
        "dose-symmetric", "order of the tilts"
    )
    tilt_group: int = setting(1, "tilts on one side before the other side's turn, of dose-symmetric", ge=1, le=100)
    start_tilt: float = setting(0.0, "nominal angle that the range of tilts lies around", unit="deg", ge=-40, le=40)
    tilt_step: float = setting(3.0, "between views", unit="deg", gt=0)
    tilt_noise: float = setting(
        0.02, "rms of the stage angle about the nominal grid; the mdoc states it", unit="deg", ge=0
    )
    nominal_axis: float = setting(85.0, "tilt axis that the mdoc states", unit="deg", ge=-360, le=360)
    axis_variation: float = setting(0.1, "rms of the slow change of the true axis over the tilts", unit="deg", ge=0)
    magnification_drift: float = setting(
        0.0005, "rms of the slow change of magnification over the series, as a fraction", ge=0, le=0.05
    )
    drift: float = setting(20.0, "slow walk of the field of view over the whole series", unit="Å", ge=0)
    deformation: float = setting(
        3.0, "rms at the end of the series of the smooth deformation that grows with dose", unit="Å", ge=0, le=500
    )
    dual_axis: bool = setting(False, "two series (a, b) of one specimen, the second turned by 90° in its plane")

    voltage: float = setting(300.0, "acceleration voltage", unit="kV", ge=10, le=3000)
    spherical_aberration: float = setting(2.7, "Cs of the objective lens", unit="mm", ge=0, le=20)
    amplitude_contrast: float = setting(0.1, "fraction of the contrast of thin matter", ge=0, le=1)
    ctf: bool = setting(True, "apply the contrast transfer function; off: the images are the projected potential")
    defocus: float = setting(30000.0, "underfocus at the specimen's centre", unit="Å", ge=-200000, le=200000)
    defocus_spread: float = setting(300.0, "rms with which focus is set anew in every view", unit="Å", ge=0)
    hand: Literal[-1, 1] = setting(-1, "sign by which defocus grows with depth (rlnTomoHand)")
    astigmatism: float = setting(250.0, "half the difference of the two defoci", unit="Å", ge=0, le=20000)
    astigmatism_variation: float = setting(
        60.0, "rms of its slow change over the tilts, in each of its two components", unit="Å", ge=0
    )
    phase_shift: float = setting(0.0, "of a phase plate; 0: none", unit="deg", ge=0, le=180)
    source_angle: float = setting(0.02, "half angle of the illumination's spread", unit="mrad", ge=0, le=10)
    focal_spread: float = setting(60.0, "rms of the focus from energy and lens instabilities", unit="Å", ge=0)

    dose: float = setting(3.0, "of each view (of the untilted one where it grows with tilt)", unit="e/Å²", gt=0)
    dose_by_tilt: Literal["uniform", "cosine"] = setting("uniform", "the same for every view, or divided by cos(tilt)")
    noise: bool = setting(True, "Poisson noise of the dose, whole counts; off: expected counts as real numbers")
    damage: bool = setting(True, "fading of the structure with the dose it had (Grant & Grigorieff 2015)")
    mean_free_path: float = setting(
        3000.0, "of scattering in ice past the aperture or the filter; 0: every electron arrives", unit="Å", ge=0
    )
    inelastic_background: float = setting(
        0.1, "fraction of the scattered electrons that arrives as a featureless background", ge=0, le=1
    )
    ice_mobility: float = setting(
        1.0, "rms by which the ice's molecules move for 1 e/Å², which lets its grain change", unit="Å", ge=0, le=100
    )
    blank_views: int | tuple[int, ...] = setting(
        0, "views without a beam: how many, or which by their place in the order of recording (1,7)"
    )
    dark_views: int | tuple[int, ...] = setting(0, "views that a grid bar leaves a tenth of the beam; as blank_views")

    frames: int = setting(6, "of each movie; 0 or 1: a stack of tilt images", ge=0, le=1000)
    frame_format: Literal["tiff", "mrc", "eer"] = setting("tiff", "of the movies")
    motion_start: float = setting(5.0, "rms of the quick motion when the beam comes on", unit="Å", ge=0)
    motion_start_dose: float = setting(0.5, "dose over which it dies away", unit="e/Å²", gt=0)
    motion_drift: float = setting(4.0, "rms of the steady motion over a whole view", unit="Å", ge=0)
    motion_jitter: float = setting(0.25, "rms of the motion from frame to frame beside it, each way", unit="Å", ge=0)
    motion_shared: float = setting(
        0.5, "part of the motion's direction and size that all views have in common", ge=0, le=1
    )
    local_motion: float = setting(
        1.5, "rms over the field, at a view's end, of motion that differs from place to place", unit="Å", ge=0
    )
    doming: float = setting(
        6.0, "rise of the film's middle against the edge of the field in a view, seen where tilted", unit="Å", ge=0
    )

    detector: Literal["ideal", "k3", "falcon4"] = setting("k3", "camera: its transfer, gain and coincidence loss")
    dose_rate: float = setting(8.0, "without specimen; longer exposures follow", unit="e/px/s", gt=0)
    gain: bool = setting(True, "the camera's pixels differ; a gain reference is written (of movies)")
    hot_columns: int = setting(0, "columns with extra counts that the gain reference does not mark", ge=0, le=100)
    hot_pixels: int = setting(12, "pixels that always count too much", ge=0, le=100000)
    dead_pixels: int = setting(8, "pixels that never count", ge=0, le=100000)
    xrays: float = setting(2.0, "X-ray hits in each view", ge=0, le=10000)
    mdoc: Literal["serialem", "pacetomo", "tomo5"] = setting("serialem", "whose way of writing mdoc files")

    truth_binning: float = setting(2.0, "of the noise-free volume written beside the raw data; 0: none", ge=0, le=64)

    @model_validator(mode="after")
    def _microscope_fits(self) -> SimulateSettings:
        if self.tilt_step > 2 * self.tilt_range > 0:
            raise ValueError(f"a tilt step of {self.tilt_step}° is larger than the whole range ±{self.tilt_range}°")
        if abs(self.start_tilt) + self.tilt_range > 80:
            raise ValueError(f"tilts of ±{self.tilt_range}° about {self.start_tilt}° go beyond 80°")
        if self.movies and not self.noise and self.frame_format != "mrc":
            raise ValueError("frames without noise are no whole counts: set frame_format=mrc, or frames=0")
        if self.frame_format == "eer" and self.detector != "falcon4" and self.movies:
            raise ValueError("only Falcon cameras write EER: set detector=falcon4, or frame_format=tiff")
        return self

    @property
    def movies(self) -> bool:
        """Whether frames are written rather than a stack of tilt images."""
        return self.frames > 1
