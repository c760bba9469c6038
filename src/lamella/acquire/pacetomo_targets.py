"""Targets that PACEtomo's selection script has saved: ``NAME_tgts.txt``, or a run's copy ``NAME_tgts_run01.txt``.

Lines are ``key = value`` below a heading: ``_tgt = 001`` begins a target, ``_geo = 1`` a point where the grid's height
is measured, ``_pbr`` and ``_nbr`` what a run has learned of the target's two branches; ``_set name = value`` overrides
a setting, ``_spos`` says where a run was interrupted (F. Eisenstein, PACEtomo, github.com/eisfabian/PACEtomo). Of a
target SSX and SSY are its specimen shift from the first one in µm, X along the tilt axis; stageX and stageY its place
on the stage; tsfile the name of its tilt series.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath

from lamella.acquire.navigator_targets import STAGE_TO_SPECIMEN, series_names, stage_frame
from lamella.acquire.targets import Target
from lamella.errors import FormatError
from lamella.formats.angles import read_text

__all__ = ["is_pacetomo", "pacetomo_targets"]

_TARGET = "_tgt"
_OTHER_BLOCKS = ("_geo", "_pbr", "_nbr")


def is_pacetomo(path: Path | str) -> bool:
    """Whether a text file is one of PACEtomo's."""
    return any(line.startswith(_TARGET) for line in read_text(path, "file of targets").splitlines())


def pacetomo_targets(path: Path | str, stage_to_specimen: Sequence[float] = STAGE_TO_SPECIMEN) -> tuple[Target, ...]:
    """Its targets, in order, without those to be skipped; the first is what PACEtomo tracks on.

    Heights are those of the plane of the settings ``pretilt`` and ``rotation``, where the file sets them.

    Parameters
    ----------
    path
        of the file.
    stage_to_specimen
        SerialEM's StageToSpecimenMatrix, for targets that have a stage place alone.

    Raises
    ------
    FormatError
        if there is no target in it, all are skipped, or one has no place.
    """
    settings, targets = _parse(path)
    if not targets:
        raise FormatError(f"{path}: no target ('_tgt = 001')", mend="give the file that PACEtomo's selectTargets wrote")
    kept = [one for one in targets if one.get("skip", "False") != "True"]
    if not kept:
        raise FormatError(f"{path}: all {len(targets)} targets are to be skipped", mend="set skip = False for some")
    names = series_names([_label(one) for one in kept])
    plane = _plane(settings, path)
    return tuple(
        _target(name, _shift(one, targets[0], stage_to_specimen, f"{path}: target {one['number']}"), plane)
        for name, one in zip(names, kept, strict=True)
    )


def _parse(path: Path | str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Settings, and what is said of each target."""
    settings: dict[str, str] = {}
    targets: list[dict[str, str]] = []
    block: dict[str, str] = {}
    for line in read_text(path, "file of targets").splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key.startswith("_set "):
            settings[key.removeprefix("_set ").strip()] = value
        elif key == _TARGET:
            block = {"number": value}
            targets.append(block)
        elif key in _OTHER_BLOCKS:
            block = {}
        elif key and not key.startswith("_"):
            block[key] = value
    return settings, targets


def _label(target: Mapping[str, str]) -> str:
    """The series' name: its file's without the ending, or the target's number."""
    file = target.get("tsfile", "")
    return PureWindowsPath(file).stem if file and file != "None" else f"tgt_{target['number']}"


def _shift(
    target: Mapping[str, str], first: Mapping[str, str], stage_to_specimen: Sequence[float], where: str
) -> tuple[float, float]:
    """Specimen shift (SSX, SSY) from the first target."""
    if "SSX" in target and "SSY" in target:
        return _number(target, "SSX", where), _number(target, "SSY", where)
    if not all(name in one for name in ("stageX", "stageY") for one in (target, first)):
        raise FormatError(
            f"{where} has neither SSX and SSY nor stageX and stageY", mend="select it again, or delete it"
        )
    dx, dy = (_number(target, name, where) - _number(first, name, where) for name in ("stageX", "stageY"))
    x, y = stage_frame(dx, dy, stage_to_specimen)
    return y, -x


def _plane(settings: Mapping[str, str], path: Path | str) -> tuple[float, float] | None:
    """Pre-tilt and rotation, rad; None where the file states no pre-tilt."""
    if "pretilt" not in settings:
        return None
    return (
        math.radians(_number(settings, "pretilt", f"{path}: _set")),
        math.radians(_number({"rotation": "0", **settings}, "rotation", f"{path}: _set")),
    )


def _target(name: str, shift_um: tuple[float, float], plane: tuple[float, float] | None) -> Target:
    """In the stage frame: x = −SSY, y = SSX, and z PACEtomo's own."""
    ssx, ssy = shift_um
    height = None
    if plane is not None:
        pretilt, rotation = plane
        height = math.tan(pretilt) * (math.cos(rotation) * ssy - math.sin(rotation) * ssx)
    # No zero with a sign.
    return Target(name=name, x_um=0.0 - ssy, y_um=ssx, z_um=None if height is None else height + 0.0)


def _number(values: Mapping[str, str], name: str, where: str) -> float:
    try:
        value = float(values[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{where}: {name} = {values[name]} is no number", mend="mend that line")
    return value
