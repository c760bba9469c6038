"""A predictor by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lamella.acquire.microscope.port import Calibrations
from lamella.acquire.predictor.bisect import BisectPredictor
from lamella.acquire.predictor.flat import FlatPredictor
from lamella.acquire.predictor.incremental import IncrementalPredictor
from lamella.acquire.predictor.interface import Predictor, TargetPlace
from lamella.acquire.predictor.shared import SharedPredictor
from lamella.errors import SettingsError

__all__ = ["PREDICTORS", "make_predictor"]

PREDICTORS: Mapping[str, Callable[..., Predictor]] = {
    "bisect": BisectPredictor,
    "flat": FlatPredictor,
    "incremental": IncrementalPredictor,
    "shared": SharedPredictor,
}


def make_predictor(name: str, places: Mapping[int, TargetPlace], calibrations: Calibrations) -> Predictor:
    """A predictor that knows the targets' places.

    Parameters
    ----------
    name
        ``"flat"``, ``"bisect"``, ``"incremental"`` or ``"shared"``.
    places
        by the targets' numbers; −1 is the tracking area, −2 the focus area. Any of them may be absent: it can't be
        asked for then.
    calibrations
        of the microscope; the tilt axis's offset is taken from them.

    Raises
    ------
    SettingsError
        if no predictor has that name, there is no place, or one isn't finite.
    """
    if name not in PREDICTORS:
        raise SettingsError(f"no predictor is called {name!r}", mend=f"choose one of {', '.join(sorted(PREDICTORS))}")
    return PREDICTORS[name](places, axis_um=calibrations.axis_offset_um)
