"""What the camera gives: at the least cost, where features of the specimen appear (no pixel is made)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import Landmarks, Pixels, Preset, Purpose

__all__ = ["LandmarkPictures", "PictureMaker", "Scene"]

Array = NDArray[np.float64]

_FEATURES = 9
_SPREAD = 0.3  # of the field, to both sides of the middle, over which an area's features lie


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What an exposure sees.

    Attributes
    ----------
    area
        name of the part of the specimen: pictures of one area show the same features.
    purpose, preset, dose
        of the picture.
    tilt_deg, told_deg
        the true angle, and the one that the stage reads.
    middle
        finds the place ``(2,)`` of the grid in the picture's middle; a search, so that who does not need it is spared.
    surface
        points ``(n, 3)`` of the grid's surface at places ``(n, 2)`` in this area.
    appear
        where points ``(n, 3)`` of the grid appear in the picture, ``(n, 2)`` across and along the tilt axis as the
        calibrations state it, µm from the picture's middle.
    defocus_um
        true, of points ``(n, 3)`` of the grid.
    """

    area: tuple[str, int, int]
    purpose: Purpose
    preset: Preset
    dose: float
    tilt_deg: float
    told_deg: float
    middle: Callable[[], Array]
    surface: Callable[[Array], Array]
    appear: Callable[[Array], Array]
    defocus_um: Callable[[Array], Array]

    @cached_property
    def middle_um(self) -> Array:
        """``(2,)`` the place of the grid in the picture's middle."""
        return self.middle()


class PictureMaker(Protocol):
    """Makes the content of pictures."""

    @property
    def files(self) -> tuple[str, ...]:
        """What was written of the last picture, relative to the session's folder."""
        ...

    def picture(self, scene: Scene) -> Landmarks | Pixels:
        """Of an exposed scene."""
        ...

    def dark(self, scene: Scene) -> Landmarks | Pixels:
        """Where no beam came."""
        ...


class LandmarkPictures:
    """Pictures that state where an area's features appear.

    Parameters
    ----------
    field_um
        of the record preset, the shorter side: over a part of it the features lie.
    matching_px
        sd of a comparison's error at 0° and the preset's own dose. It grows as the noise, by 1 / √dose and 1 / √cosθ.
    rng
        a stream of random numbers.
    matching_tilt_px
        sd at 60° of what all of a picture is displaced by beside that; it grows as sin²θ.
    """

    def __init__(
        self, field_um: float, matching_px: float, rng: np.random.Generator, *, matching_tilt_px: float = 0.0
    ) -> None:
        self._spread_um = _SPREAD * field_um
        self._matching_px, self._matching_tilt_px = matching_px, matching_tilt_px
        self._features_rng, self._errors_rng, self._content_rng = rng.spawn(3)
        self._seed = int(self._features_rng.integers(2**31))
        self._areas: dict[tuple[str, int, int], Array] = {}
        self.files: tuple[str, ...] = ()

    def picture(self, scene: Scene) -> Landmarks:
        """Features where they appear; one outside the field is taken for another somewhere in it."""
        features = self._features(scene)
        sd = self._sd_um(scene)
        places = scene.appear(features) + sd * self._errors_rng.normal(size=(_FEATURES, 2)) + self._content_um(scene)
        return Landmarks(places_um=self._inside(scene, places), sd_um=sd)

    def dark(self, scene: Scene) -> Landmarks:
        """Features anywhere."""
        places = np.full((_FEATURES, 2), np.inf)
        return Landmarks(places_um=self._inside(scene, places), sd_um=self._sd_um(scene))

    def _features(self, scene: Scene) -> Array:
        """``(n, 3)`` of an area, on the grid: about where its first picture was taken, not about the target's truth."""
        if scene.area not in self._areas:
            kind, target, shot = scene.area
            rng = np.random.default_rng([self._seed, sum(kind.encode()), target + 2**16, shot])
            off = rng.uniform(-1, 1, (_FEATURES, 2))
            # Like the content of a real picture they lie about its middle, and so does the height that focus finds.
            around = scene.middle_um + self._spread_um * (off - off.mean(axis=0))
            self._areas[scene.area] = scene.surface(around)
        return self._areas[scene.area]

    def _sd_um(self, scene: Scene) -> float:
        """Sd of a feature's place: so large that the mean of all has the sd of a comparison."""
        share = scene.dose / scene.preset.dose if scene.preset.dose else 1.0
        growth = 1 / np.sqrt(max(share, 1e-6) * np.cos(np.deg2rad(scene.tilt_deg)))
        return float(np.sqrt(_FEATURES) * self._matching_px * scene.preset.pixel_size_ang * 1e-4 * growth)

    def _content_um(self, scene: Scene) -> Array:
        """``(2,)`` by which a whole picture seems elsewhere, because it shows other projections of the specimen."""
        sine = np.sin(np.deg2rad(scene.tilt_deg)) / np.sin(np.deg2rad(60.0))
        sd = self._matching_tilt_px * scene.preset.pixel_size_ang * 1e-4 * sine**2
        return np.asarray(sd * self._content_rng.normal(size=2))

    def _inside(self, scene: Scene, places: Array) -> Array:
        half = 0.5 * np.array(scene.preset.field_um[::-1])
        # Which side of the camera lies across the axis does not matter here: the shorter side bounds both.
        reach = float(half.min())
        out = (np.abs(places) > reach).any(axis=-1)
        if out.any():
            places = places.copy()
            places[out] = self._errors_rng.uniform(-reach, reach, (int(out.sum()), 2))
        return places
