"""Settings of the step `align`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamella.settings import StepSettings, setting

__all__ = ["NOMINAL_SCORE", "AlignSettings"]

NOMINAL_SCORE = "AlignScoreNone"
"""Quality number of an aligned series: the score of the geometry that the microscope stated."""

Label = Annotated[int, Field(ge=1)]


class AlignSettings(StepSettings):
    """Shifts, tilt axis and level of a tilt series."""

    method: Literal["auto", "beads", "patches", "matching", "coarse", "none"] = setting(
        "auto",
        "auto: beads where there are enough, else patches and projection matching too, and of these what predicts "
        "held-out views best; beads, patches or matching: that alone, or an error; coarse: whole views only; none: the "
        "angles as recorded, no shift",
    )
    bead_diameter: float = setting(0.0, "of the gold beads; 0: found from the data", unit="Å", ge=0, le=2000)
    bead_centres: Literal["profile", "edges"] = setting(
        "profile",
        "profile: a bead lies where the look that all beads give fits it best, which is exact to the noise's limit; "
        "edges: where its edges lie (Sobel's filter), for beads on which a carbon edge or things of their own size lie",
    )
    mask: bool = setting(
        True, "leave out of the work what is not the specimen: opaque film, grid bars, vacuum, borders without signal"
    )
    working_size: int = setting(
        768, "longer side to which the images are binned for the finest round of patches", unit="px", ge=64, le=4096
    )
    coarse_size: int = setting(
        256, "longer side to which the images are binned for whole-view correlation", unit="px", ge=64, le=1024
    )
    specimen: Literal["auto", "film", "compact"] = setting(
        "auto",
        "film: reaches beyond the field, foreshortened by tilt; compact: ends within the field and is as deep as wide "
        "(a needle, a particle), aligned by whole views; auto: what neighbouring views match better as",
    )
    session_start: bool = setting(
        True, "begin with the shifts that the microscope's session measured, where it left any and they hold"
    )
    axis_range: float = setting(
        90.0, "how far from the nominal tilt axis to search to either side; 0 keeps it", unit="deg", ge=0, le=90
    )
    axis: Literal["auto", "fixed", "common", "smooth", "free"] = setting(
        "auto",
        "how the solved axis may change: not at all, alike in all views, smoothly with tilt, or in each view; auto: "
        "what predicts tracks best",
    )
    tilt_angles: Literal["auto", "fixed", "smooth", "free"] = setting(
        "auto",
        "whether tilt angles are solved: not (but for their common offset), smoothly with tilt, or in each view; auto: "
        "what predicts tracks best",
    )
    magnification: Literal["auto", "fixed", "smooth", "free"] = setting(
        "auto",
        "whether the views' magnification is solved: not, smoothly with tilt, or in each view; auto: what predicts "
        "tracks best",
    )
    local: Literal["auto", "off", "image", "specimen"] = setting(
        "auto",
        "whether local deformation is solved: of the images, of the specimen as it takes dose, or neither; auto: where "
        "tracks are predicted better with it",
    )
    patch_size: float = setting(
        0.3,
        "edge of the first patches over the shorter side of the images; the last are as small as can still be found",
        gt=0.05,
        le=0.6,
    )
    patch_spacing: float = setting(0.45, "distance of patches at most, over their size", gt=0.1, le=2)
    patch_span: float = setting(
        30.0,
        "range of tilts through which a patch counts as one point; longer tracks are broken into pieces (ten views at "
        "least)",
        unit="deg",
        ge=10,
        le=180,
    )
    rounds: int = setting(3, "how often patches are followed and the geometry solved", ge=1, le=10)
    loss: Literal["cauchy", "huber", "none"] = setting(
        "cauchy", "how the solve doubts patches that do not fit: strongly, mildly, not at all (least squares)"
    )
    thickness: float = setting(
        0.0,
        "thickness through which views share detail; 0 estimates it from how detail fades",
        unit="Å",
        ge=0,
        le=20000,
    )
    level: bool = setting(True, "whether to turn the specimen's mid-plane level; off, only the centre is set")
    drop_tracks: tuple[Label, ...] = setting(
        (), "beads or patches to leave out of the solve, by their number; what was followed stays, so it takes seconds"
    )
    reuse_tracks: bool = setting(
        True,
        "solve from the tracks that were followed before, or imported, where views and tracking are the same; off, "
        "follow them anew",
    )

    def pinned_modes(self) -> dict[str, Literal["fixed", "common", "smooth", "free"]]:
        """Modes that the user chose for terms of the solve, by their name there; those left to the data are absent."""
        chosen = {"z_rot": self.axis, "y_tilt": self.tilt_angles, "magnification": self.magnification}
        return {name: mode for name, mode in chosen.items() if mode != "auto"}
