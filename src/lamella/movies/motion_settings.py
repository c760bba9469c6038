"""Settings of the step `motion`."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from lamella.settings import StepSettings, setting

__all__ = ["MotionSettings"]


class MotionSettings(StepSettings):
    """Settings of `motion`: frames to tilt images. Stacks of tilt images pass through."""

    model: Literal["local", "global", "none"] = setting(
        "local",
        "local: the whole field, then a smooth field of motion where the data support it; global: the whole field "
        "alone; none: sum the frames as they are",
    )
    max_shift: float = setting(100.0, "farthest that the specimen may move within a movie", unit="Å", gt=0)
    first_frame: int = setting(1, "first frame to use, counted from 1", ge=1)
    last_frame: int = setting(0, "last frame to use; 0: the last one there is", ge=0)
    binning: float = setting(
        1.0, "movie pixels per pixel of the tilt images, by cropping in Fourier space; need not be whole", ge=1, le=16
    )
    halves: bool = setting(True, "write sums of the even and of the odd frames as well, for denoising and resolution")
    dose_weighted: bool = setting(False, "write a dose-weighted copy for viewing (NAME_dw.mrcs); no step reads it")
    aligned_frames: bool = setting(False, "write the aligned frames of each movie (NAME/MOVIE_frames.mrcs)")
    float16: bool = setting(False, "write tilt images as 16-bit floats: half the size, 3 digits")

    gain: str = setting(
        "", "gain reference (MRC, TIFF, DM4, .gain); empty: none, or the one that the EER files name", file=True
    )
    gain_flip: Literal["auto", "none", "up-down", "left-right"] = setting(
        "auto", "flip of the gain reference, done after its rotation; auto: found from the data"
    )
    gain_rotation: Literal["auto", "0", "90", "180", "270"] = setting(
        "auto", "counter-clockwise rotation of the gain reference; auto: found from the data", unit="deg"
    )
    dark: str = setting(
        "", "dark reference, subtracted from each frame before the gain (MRC, TIFF, DM4); empty: none", file=True
    )
    defects: str = setting(
        "",
        "defect map (image, non-zero = bad) or list of defects (text: x y width height); empty: none",
        file=True,
    )
    find_defects: bool = setting(True, "find hot and dead pixels, rows and columns in the data")

    eer_frames: int = setting(0, "raw EER frames in one fraction; 0: as many as eer_dose asks for", ge=0)
    eer_dose: float = setting(0.5, "dose of one fraction of an EER movie", unit="e/Å²", gt=0)
    eer_upsampling: Literal[1, 2] = setting(1, "1: EER events in the camera's pixels (4k); 2: in half pixels (8k)")

    missing: Literal["stop", "skip"] = setting(
        "stop", "a frame file that is absent, damaged or too short: stop, or go on without that view and say so"
    )

    @model_validator(mode="after")
    def _ordered(self) -> MotionSettings:
        if self.last_frame and self.last_frame < self.first_frame:
            raise ValueError(f"last_frame {self.last_frame} comes before first_frame {self.first_frame}")
        return self
