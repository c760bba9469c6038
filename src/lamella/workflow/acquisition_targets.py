"""Targets of a session from what a user names: a number, a table, a navigator, a montage."""

from __future__ import annotations

from pathlib import Path

from lamella.acquire.montage import find_holes, hole_targets
from lamella.acquire.navigator_targets import STAGE_TO_SPECIMEN, navigator_targets
from lamella.acquire.pacetomo_targets import is_pacetomo, pacetomo_targets
from lamella.acquire.targets import Target, read_targets
from lamella.acquire.world import load_world
from lamella.errors import ImageError, SettingsError
from lamella.formats.mrc import read_mrc
from lamella.workflow.acquisition_microscope import calibration_of
from lamella.workflow.acquisition_settings import MicroscopeSettings

__all__ = ["targets_of"]

_MONTAGES = (".mrc", ".map", ".st")
_NAVIGATORS = (".nav", ".xml")
_REACH = 0.8  # of the image shift: the rest is for what the stage does


def targets_of(
    text: str, microscope: MicroscopeSettings, *, hole_um: float | None = None, pixel_size_ang: float | None = None
) -> tuple[Target, ...] | int:
    """Targets of a file, or how many a grid shall have.

    Parameters
    ----------
    text
        a number, or the name of a table (CSV), of a navigator (``.nav``, ``.xml``: its points and maps marked for
        acquisition), of PACEtomo's targets (``_tgts.txt``), or of a montage (``.mrc``, ``.map``, ``.st``: its good
        holes within the reach of the image shift).
    microscope
        that is to record them.
    hole_um
        diameter of the montage's holes.
    pixel_size_ang
        of the montage, where its header does not state it.

    Raises
    ------
    InputError
        if it is neither a number nor a file that can be read, or there is no good hole in it.
    """
    if text.isdecimal():
        return int(text)
    path = Path(text)
    kind = path.suffix.lower()
    if kind in _MONTAGES:
        return _montage_targets(path, microscope, hole_um, pixel_size_ang)
    serialem = microscope.microscope == "serialem"
    stage = calibration_of(microscope).stage_to_specimen if serialem else STAGE_TO_SPECIMEN
    if kind in _NAVIGATORS:
        return navigator_targets(path, stage)
    return pacetomo_targets(path, stage) if kind == ".txt" and is_pacetomo(path) else read_targets(path)


def _montage_targets(
    path: Path, microscope: MicroscopeSettings, hole_um: float | None, pixel_size_ang: float | None
) -> tuple[Target, ...]:
    """The good holes of a montage, about its middle."""
    images, stated = read_mrc(path)
    pixel = stated if pixel_size_ang is None else pixel_size_ang
    if hole_um is None:
        raise SettingsError(f"{path}: how wide are its holes?", mend="give their diameter in µm with --hole-diameter")
    if pixel is None:
        raise SettingsError(f"{path}: its header states no pixel size", mend="give it in Å with --montage-pixel")
    if len(images) != 1:
        raise ImageError(f"{path}: {len(images)} images", mend="give the montage as one image, as its map shows it")
    if microscope.microscope == "serialem":
        known = calibration_of(microscope)
        axis, reach = known.tilt_axis, known.shift_limit
    else:
        optics = load_world(microscope.world).optics
        axis, reach = optics.tilt_axis, optics.shift_limit
    holes = find_holes(images[0], pixel, hole_um)
    height, width = images[0].shape
    return hole_targets(holes, (height, width), pixel, axis, reach_um=_REACH * reach)
