"""What `motion` starts from: every frame file opened and checked, and the camera's references read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from filecmp import cmp
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, ImageError, InputError, LamellaError, SettingsError
from lamella.formats.defect_list import read_defects
from lamella.formats.frame_turn import turn_shape
from lamella.formats.gain import GainReference, as_factor, match_grid, read_gain, read_image_reference
from lamella.formats.movies import MovieFile, open_movie
from lamella.movies.find_detector import References
from lamella.movies.motion_settings import MotionSettings
from lamella.movies.reading import kept_in_memory
from lamella.movies.still import frame_range
from lamella.records import FrameSource, TiltSeries
from lamella.workflow.steps.motion_files import reference_path

__all__ = ["OpenedMovies", "degrees", "gain_path", "open_movies", "read_references"]

_LISTED = 4
_SAMPLE = 2**14  # bytes in the middle of a file; where two files agree in them, all of both is compared


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenedMovies:
    """The movies of a series that can be used.

    Attributes
    ----------
    series
        its record, without the views whose movies cannot be used, sorted by tilt angle.
    files
        one per view of `series`.
    pixel_size_ang
        of the frames.
    dose_per_frame
        ``(n,)`` of each file's frames, e/Å²; None where it is unknown.
    notes
        what was left out, and why.
    """

    series: TiltSeries
    files: tuple[MovieFile, ...]
    pixel_size_ang: float
    dose_per_frame: NDArray[np.float64] | None
    notes: tuple[str, ...]

    @property
    def shape_px(self) -> tuple[int, int]:
        """(height, width) of the stored frames."""
        return self.files[0].shape[1], self.files[0].shape[2]

    @cached_property
    def frames(self) -> list[FrameSource]:
        """The movies as they are looked at: small ones decoded once."""
        return kept_in_memory(self.files)

    @property
    def is_eer(self) -> bool:
        """Whether the movies are EER files."""
        return self.files[0].kind == "eer"


def open_movies(
    series: TiltSeries, settings: MotionSettings, root: Path, *, every_frame: bool | None = None
) -> OpenedMovies:
    """Open every movie of a series, and see that each can be used.

    Parameters
    ----------
    series
        its record.
    settings
        which frames are used, and what to do about a file that cannot be.
    root
        the project's folder.
    every_frame
        whether to read them all once; None: where `settings.missing` is ``skip``, so that no view is lost later.

    Raises
    ------
    InputError
        if some cannot and `settings.missing` is ``stop``: all of them are named; or if none can.
    """
    assert series.movies is not None
    doses = series.view_dose
    files: list[MovieFile | None] = []
    trouble: dict[int, str] = {}
    for view, name in enumerate(series.movies):
        try:
            files.append(_open(root / name, settings, None if doses is None else float(doses[view])))
        except (FormatError, ImageError) as error:
            files.append(None)
            trouble[view] = error.problem
    _compare(series, files, trouble)
    _find_copies(series, files, trouble)
    _leave_frames(series, files, settings, trouble)
    if every_frame or (every_frame is None and settings.missing == "skip"):
        _read_all(files, trouble)
    if trouble and (settings.missing == "stop" or len(trouble) == len(series)):
        raise InputError(_all_of(series, trouble), mend=_mend(len(trouble) == len(series)))
    kept = np.array([view for view in np.argsort(series.nominal_tilt_deg, kind="stable") if view not in trouble])
    chosen = tuple(file for view in kept if (file := files[view]) is not None)
    height = turn_shape((chosen[0].shape[1], chosen[0].shape[2]), series.frame_turn)[0]
    pixel_size = series.original_pixel_size_ang or series.pixel_size_ang
    counts = np.array([file.raw_frames for file in chosen])
    doses = None if doses is None or not (doses > 0).all() else doses[kept]
    notes = [f"{_view(series, view)} left out: {text}" for view, text in trouble.items()]
    return OpenedMovies(
        series=series.select(kept).with_changes(frame_counts=counts),
        files=chosen,
        dose_per_frame=None if doses is None else doses / np.array([len(file) for file in chosen]),
        pixel_size_ang=pixel_size * series.image_shape_px[0] / height,  # EER frames may be counted in half pixels
        notes=(*notes, *_grown(series, files, trouble)),
    )


def _open(path: Path, settings: MotionSettings, dose: float | None) -> MovieFile:
    if not path.is_file():
        raise FormatError(f"{path}: there is no such file", mend="put it back")
    file = open_movie(path, eer_frames=max(settings.eer_frames, 1), eer_upsampling=settings.eer_upsampling)
    if file.kind != "eer" or settings.eer_frames:
        return file
    if not dose:
        raise InputError(
            f"{path}: its view's dose is unknown, so its EER frames cannot be shared out by dose",
            mend="set motion.eer_frames, or state the dose with --dose-per-tilt",
        )
    fractions = max(1, round(dose / settings.eer_dose))
    frames = max(1, round(file.raw_frames / fractions))
    return open_movie(path, eer_frames=frames, eer_upsampling=settings.eer_upsampling)


def _compare(series: TiltSeries, files: Sequence[MovieFile | None], trouble: dict[int, str]) -> None:
    """Movies that are another view's, shorter than they were, or of another size than most."""
    sizes = [file.shape[1:] for file in files if file is not None]
    usual = max(dict.fromkeys(sizes), key=sizes.count, default=(0, 0))
    seen: dict[Path, int] = {}
    for view, file in enumerate(files):
        if file is None:
            continue
        known = None if series.frame_counts is None or file.kind == "eer" else int(series.frame_counts[view])
        first = seen.setdefault(file.path.resolve(), view)
        if file.shape[1:] != usual:
            trouble[view] = f"{file.path}: {_size(file.shape[1:])} pixels where the others have {_size(usual)}"
        elif first != view:
            trouble[view] = f"{file.path} belongs to {_view(series, first)} too"
        elif known is not None and len(file) < known:
            trouble[view] = f"{file.path}: {len(file)} frames, {known} when it was imported"


def _find_copies(series: TiltSeries, files: Sequence[MovieFile | None], trouble: dict[int, str]) -> None:
    """Movies that are byte for byte another view's under another name."""
    same: dict[tuple[int, bytes], list[int]] = {}
    for view, file in enumerate(files):
        if file is not None and view not in trouble:
            size = file.path.stat().st_size
            with file.path.open("rb") as handle:
                handle.seek(max(0, (size - _SAMPLE) // 2))
                same.setdefault((size, handle.read(_SAMPLE)), []).append(view)
    for (_, sample), views in same.items():
        first = files[views[0]]
        for view in views[1:] if any(sample) else ():  # blank views may well be alike
            other = files[view]
            if first is not None and other is not None and cmp(first.path, other.path, shallow=False):
                trouble[view] = f"{other.path} is a copy of {first.path.name}, of {_view(series, views[0])}"


def _leave_frames(
    series: TiltSeries, files: Sequence[MovieFile | None], settings: MotionSettings, trouble: dict[int, str]
) -> None:
    """Movies of which the settings leave no frame; if that is so of every one, the settings are at fault."""
    sound = [(view, file) for view, file in enumerate(files) if file is not None and view not in trouble]
    for view, file in sound:
        try:
            frame_range(len(file), settings)
        except ImageError as error:
            trouble[view] = f"{file.path}: {error.problem}"
    if sound and all(view in trouble for view, _ in sound):
        most = max(len(file) for _, file in sound)
        raise SettingsError(
            f"{series.name}: motion.first_frame is {settings.first_frame}, and no movie has more than {most} frames",
            mend="set motion.first_frame lower",
        )


def _grown(series: TiltSeries, files: Sequence[MovieFile | None], trouble: dict[int, str]) -> list[str]:
    """What is to be told of movies that are longer than when they were imported."""
    if series.frame_counts is None:
        return []
    return [
        f"warning: {file.path}: {file.raw_frames} frames, {known} when it was imported; all were taken"
        for view, (file, known) in enumerate(zip(files, series.frame_counts.tolist(), strict=True))
        if file is not None and view not in trouble and file.raw_frames > known
    ]


def _read_all(files: Sequence[MovieFile | None], trouble: dict[int, str]) -> None:
    """Read every frame once, so that a view whose file is damaged inside can be left out."""
    for view, file in enumerate(files):
        if file is None or view in trouble:
            continue
        try:
            for index in range(len(file)):
                frame = file.frame(index)
                if frame.dtype.kind == "f" and not np.isfinite(frame).all():
                    raise ImageError(f"{file.path}: frame {index + 1} holds NaN or infinity")
        except LamellaError as error:
            trouble[view] = error.problem


def _all_of(series: TiltSeries, trouble: dict[int, str]) -> str:
    listed = [f"{_view(series, view)}: {text}" for view, text in list(trouble.items())[:_LISTED]]
    more = f"; and {len(trouble) - _LISTED} more" if len(trouble) > _LISTED else ""
    return f"{series.name}: {len(trouble)} of {len(series)} movies cannot be used: " + "; ".join(listed) + more


def _mend(every_one: bool) -> str:
    if every_one:
        return "put the files where the project's raw table names them, or make the project again"
    return "copy those files again, or set motion.missing to skip, which goes on without their views"


def _view(series: TiltSeries, view: int) -> str:
    return f"the view at {degrees(series.nominal_tilt_deg[view])}"


def degrees(angle: float) -> str:
    """A tilt angle in words, without a negative zero."""
    return f"{round(angle, 1) + 0.0:+.1f}°"


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} × {shape[0]}"


def gain_path(settings: MotionSettings, file: MovieFile, root: Path) -> Path | None:
    """The gain reference: the one that is set, else the one that an EER file names, where it lies beside it."""
    if settings.gain:
        return reference_path(settings.gain, root)
    if file.gain:
        beside = file.path.parent / Path(file.gain.replace("\\", "/")).name
        return beside if beside.is_file() else None
    return None


def read_references(opened: OpenedMovies, settings: MotionSettings, root: Path) -> tuple[References, list[str]]:
    """Read the camera's references, and what is to be told of them.

    Raises
    ------
    InputError
        if one cannot be read, or has a size that the frames cannot have.
    """
    notes: list[str] = []
    fields: dict[str, Any] = {}
    first = opened.files[0]
    path = gain_path(settings, first, root)
    if path is None and first.gain:
        notes.append(
            f"warning: the EER files name the gain reference {first.gain}, which does not lie beside them: no gain was "
            "corrected; set motion.gain"
        )
    if path is not None:
        reference = read_gain(path, eer=opened.is_eer)
        notes += [f"{note.kind}: {note.where}: {note.text}" for note in reference.notes]
        fields["factor"], fields["dead"] = _on_frames(reference, opened)
        fields["gain_name"] = path.name
        _refuse_other_size(path, fields["factor"].shape, opened.shape_px, settings.gain_rotation)
    if settings.dark:
        fields["dark"] = _read_dark(reference_path(settings.dark, root), opened.shape_px, fields.get("factor"))
    if settings.defects:
        fields["defects"] = read_defects(reference_path(settings.defects, root), opened.shape_px)
    return References(**fields), notes


def _refuse_other_size(path: Path, gain: tuple[int, int], frames: tuple[int, int], rotation: str) -> None:
    """A gain that fits the frames in no position, or not in the one that is stated."""
    ways = {"auto": (gain, gain[::-1]), "90": (gain[::-1],), "270": (gain[::-1],)}.get(rotation, (gain,))
    if frames not in ways:
        turned = sorted(gain) == sorted(frames)
        raise ImageError(
            f"{path}: a gain reference of {_size(gain)} pixels for frames of {_size(frames)}"
            + (f", and a rotation by {rotation}° does not mend that" if turned else ""),
            mend="set motion.gain_rotation to auto" if turned else "take the one that belongs to this camera and mode",
        )


def _read_dark(path: Path, frames: tuple[int, int], factor: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """The dark reference, which lies as the frames do, or as the gain's file."""
    dark = read_image_reference(path)
    if dark.shape not in (frames, None if factor is None else factor.shape):
        raise ImageError(
            f"{path}: a dark reference of {_size(dark.shape)} pixels for frames of {_size(frames)}",
            mend="take the one that belongs to this camera and mode",
        )
    return dark


def _on_frames(reference: GainReference, opened: OpenedMovies) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The factor on the frames' grid, still in its file's orientation."""
    factor, dead = as_factor(reference)
    if not opened.is_eer or sorted(factor.shape) == sorted(opened.shape_px):
        return factor, dead
    height, width = opened.shape_px
    lies_across = (factor.shape[0] > factor.shape[1]) != (height > width) and height != width
    return match_grid(factor, dead, (width, height) if lies_across else (height, width))
