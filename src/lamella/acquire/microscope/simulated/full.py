"""Full pictures: each target is a specimen of `lamella.simulate`, imaged at its true angle, place and defocus.

Only pictures of targets with the record preset are made so; tracking and focus pictures stay small ones of blobs. The
specimen's centre is the target's true place, its plane that of the grid there, so that a record of the true geometry
(`FullPictures.true_series`) is in the projection model of `lamella.geometry` and can be held against any alignment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import RECORD, Calibrations, Pixels
from lamella.acquire.microscope.simulated.blobs import BlobPictures, small_presets
from lamella.acquire.microscope.simulated.full_settings import FullSettings
from lamella.acquire.microscope.simulated.pictures import Scene
from lamella.errors import InputError
from lamella.geometry import TiltGeometry
from lamella.geometry.rotations import rotation_z
from lamella.records import Defocus, Optics, TiltSeries
from lamella.simulate.contrast import TemplateSpectra
from lamella.simulate.detector import Sensor, build_sensor
from lamella.simulate.frames import write_movie
from lamella.simulate.microscope import Microscope
from lamella.simulate.motion import true_motion
from lamella.simulate.mount import MountedSpecimen, mount
from lamella.simulate.settings import SimulateSettings
from lamella.simulate.specimen import build_specimen

__all__ = ["FRAMES", "FullPictures", "full_presets"]

Array = NDArray[np.float64]

FRAMES = "frames"
_SLOPE_STEP_UM = 0.05
_SIDE_PX = 256  # of the pictures of blobs


def full_presets(calibrations: Calibrations, simulation: SimulateSettings) -> Calibrations:
    """The record preset with the simulation's field and frames, the others small."""
    small = small_presets(calibrations, _SIDE_PX)
    record = replace(
        calibrations.presets[RECORD],
        shape_px=simulation.image_shape_px,
        pixel_size_ang=simulation.pixel_size,
        frames=max(simulation.frames, 1),
    )
    return replace(small, presets={**small.presets, RECORD: record})


class FullPictures:
    """Makes the pictures.

    Parameters
    ----------
    settings
        of the specimens.
    calibrations
        of the microscope, its record preset that of the simulation.
    turn_deg
        by which the true axis in pictures differs from the calibrated one.
    places_um
        gives the true places on the grid, ``(3,)`` by the target's number.
    blobs
        makes all other pictures.

    Raises
    ------
    InputError
        if the record preset is not the simulation's.
    """

    def __init__(
        self,
        settings: FullSettings,
        calibrations: Calibrations,
        turn_deg: float,
        places_um: Callable[[], dict[int, Array]],
        blobs: BlobPictures,
    ) -> None:
        if calibrations.presets[RECORD].shape_px != settings.simulation.image_shape_px:
            raise InputError("a record preset that is not the simulation's", mend="make it by full_presets")
        self._settings = settings
        self._calibrations = calibrations
        self._turn_deg = turn_deg
        self._places_um = places_um
        self._blobs = blobs
        self._mounted: dict[int, tuple[MountedSpecimen, TemplateSpectra]] = {}
        self._sensor: Sensor | None = build_sensor(settings.simulation) if settings.simulation.movies else None
        self._views: dict[int, list[TiltSeries]] = {}
        self._files: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """What was written of the last picture, relative to the session's folder."""
        return self._files

    def picture(self, scene: Scene) -> Pixels:
        """Counts of an exposure."""
        self._files = ()
        if scene.preset.name != RECORD or scene.purpose.target < 0:
            return self._blobs.picture(scene)
        series = self._true_view(scene)
        target = scene.purpose.target
        simulation = self._settings.simulation
        microscope = self._microscope(series, target)
        frames = list(microscope.frames(0))
        self._views.setdefault(target, []).append(series)
        if simulation.movies and self._settings.folder is not None:
            name = f"{FRAMES}/{self._name(target)}_{scene.purpose.tilt:03d}_{round(scene.told_deg, 1) + 0.0:.1f}.tif"
            write_movie(
                self._settings.folder / name, iter(frames), simulation, [simulation.seed, target, scene.purpose.tilt]
            )
            self._files = (name,)
        return Pixels(image=np.sum(frames, axis=0, dtype=np.float32))

    def dark(self, scene: Scene) -> Pixels:
        """No beam."""
        self._files = ()
        return self._blobs.dark(scene)

    def true_series(self, target: int) -> TiltSeries:
        """The true geometry and defocus of a target's exposures, in the order of recording.

        Raises
        ------
        InputError
            if it has none.
        """
        views = self._views.get(target)
        if not views:
            raise InputError(f"target {target} was not exposed", mend="record it first")
        whole = views[0]
        for later in views[1:]:
            whole = whole.joined(later, whole.name)
        return whole

    def _name(self, target: int) -> str:
        names: Sequence[str] = self._settings.names
        return names[target] if target < len(names) else f"T{target + 1:02d}"

    def _microscope(self, series: TiltSeries, target: int) -> Microscope:
        simulation = self._settings.simulation
        if target not in self._mounted:
            specimen = build_specimen(simulation, target)
            self._mounted[target] = (mount(specimen), TemplateSpectra(specimen))
        mounted, spectra = self._mounted[target]
        return Microscope(
            mounted=mounted,
            series=series,
            settings=simulation,
            index=target,
            motion=true_motion(simulation, series, target) if simulation.movies else None,
            sensor=self._sensor,
            spectra=spectra,
        )

    def _true_view(self, scene: Scene) -> TiltSeries:
        """A record of one view."""
        calibrations, target = self._calibrations, scene.purpose.target
        place = self._places_um()[target]
        off = 1e4 * rotation_z(calibrations.tilt_axis_deg)[:2, :2] @ scene.appear(place)
        # The plane's normal is Ry(a)·Rx(b)·z: the grid's slope there adds to the tilt, and tilts along the axis.
        slope_x, slope_y = self._slopes(scene, place)
        defocus = np.full(1, 1e4 * float(scene.defocus_um(place)))
        before = sum(float(view.scores["Dose"][0]) for view in self._views.get(target, ()))
        return TiltSeries(
            name=self._name(target),
            pixel_size_ang=scene.preset.pixel_size_ang,
            image_shape_px=scene.preset.shape_px,
            nominal_tilt_deg=np.full(1, scene.told_deg),
            nominal_axis_deg=np.full(1, calibrations.tilt_axis_deg),
            pre_exposure=np.full(1, before),
            place=np.full(1, scene.purpose.tilt + 1),
            optics=Optics(
                voltage_kv=calibrations.voltage_kv,
                spherical_aberration_mm=calibrations.spherical_aberration_mm,
                amplitude_contrast=self._settings.simulation.amplitude_contrast,
            ),
            hand=calibrations.hand,
            geometry=TiltGeometry.from_angles(
                scene.tilt_deg - np.rad2deg(np.arctan(slope_x)),
                calibrations.tilt_axis_deg + self._turn_deg,
                x_tilt_deg=np.rad2deg(np.arcsin(slope_y / np.sqrt(1 + slope_x**2 + slope_y**2))),
                x_shift_ang=off[0],
                y_shift_ang=off[1],
            ),
            defocus=Defocus(u_ang=defocus, v_ang=defocus, angle_deg=np.zeros(1)),
            scores={"Dose": np.full(1, scene.dose), "Beam": np.ones(1)},
        )

    def _slopes(self, scene: Scene, place: Array) -> tuple[float, float]:
        steps = place[:2] + _SLOPE_STEP_UM * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
        heights = scene.surface(steps)[:, 2]
        return (
            float(heights[0] - heights[1]) / (2 * _SLOPE_STEP_UM),
            float(heights[2] - heights[3]) / (2 * _SLOPE_STEP_UM),
        )
