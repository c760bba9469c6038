"""The microscope that a session's settings name: opened, made, or known before it is asked for anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamella.acquire.microscope.port import Calibrations, Limits, Microscope
from lamella.acquire.microscope.serialem import SerialEMMicroscope
from lamella.acquire.microscope.serialem_calibration import SerialEMCalibration, read_serialem_calibration
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.microscope.simulated.full_settings import FullSettings, full_settings
from lamella.acquire.simulated_session import simulated_targets
from lamella.acquire.targets import Target, places_of
from lamella.acquire.world import load_world
from lamella.errors import SettingsError
from lamella.workflow.acquisition_settings import MicroscopeSettings

__all__ = ["calibration_of", "known_of", "open_microscope", "simulated_microscope"]


def open_microscope(
    microscope: MicroscopeSettings, targets: Sequence[Target], folder: Path, *, crashes: bool = True
) -> Microscope:
    """The microscope that a session is recorded on."""
    if microscope.microscope == "serialem":
        names = tuple(one.name for one in targets)
        return SerialEMMicroscope(calibration_of(microscope), microscope.address, microscope.port, names=names)
    return simulated_microscope(microscope, targets, folder, crashes=crashes)


def simulated_microscope(
    microscope: MicroscopeSettings,
    targets: Sequence[Target] | int,
    folder: Path | None = None,
    *,
    crashes: bool = True,
) -> SimulatedMicroscope:
    """The microscope; a simulated one crashes where its world's script says so, but not when it is gone on with."""
    places = targets if isinstance(targets, int) else places_of(targets)[:, :2]
    world = load_world(microscope.world)
    if not crashes:
        script = [fault for fault in world.model_dump()["faults"]["script"] if fault["kind"] != "crash"]
        world = load_world(microscope.world, {"faults.script": script})
    full = None
    if microscope.pictures == "full":
        full = FullSettings(
            simulation=full_settings(microscope.seed, world.optics.tilt_axis, frames=microscope.frames),
            folder=folder if microscope.frames > 1 else None,
            names=() if isinstance(targets, int) else tuple(one.name for one in targets),
        )
    return SimulatedMicroscope(world, microscope.seed, targets=places, pictures=microscope.pictures, full=full)


def known_of(
    microscope: MicroscopeSettings, targets: Sequence[Target] | int
) -> tuple[Calibrations, Limits, tuple[Target, ...]]:
    """What is known of the microscope before it is asked for anything, and the targets."""
    if microscope.microscope == "serialem":
        if isinstance(targets, int):
            raise SettingsError("no targets", mend="name a file of them with --targets")
        calibration = calibration_of(microscope)
        return calibration.calibrations(), calibration.limits(), tuple(targets)
    scope = simulated_microscope(microscope, targets)
    chosen = simulated_targets(scope) if isinstance(targets, int) else targets
    return scope.calibrations, scope.limits, tuple(chosen)


def calibration_of(microscope: MicroscopeSettings) -> SerialEMCalibration:
    """What is known of a microscope that SerialEM controls.

    Raises
    ------
    SettingsError, FormatError
        if no file of it is named, or it cannot be read.
    """
    if not microscope.calibration:
        raise SettingsError("no calibrations of the microscope", mend="name their TOML file with --calibration")
    return read_serialem_calibration(microscope.calibration)
