"""Where the images are that an mdoc describes: frame files, or the sections of a stack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lamella.errors import FormatError, InputError
from lamella.formats.frame_turn import turn_shape
from lamella.formats.images import StackFile, image_name, open_stack
from lamella.formats.mdoc_interpret import OVERRIDE, MdocSeries
from lamella.formats.mdoc_turn import settle_turn
from lamella.formats.mdoc_values import MdocView, file_name
from lamella.formats.movies import MovieFile, open_movie
from lamella.records import Note

__all__ = ["FoundImages", "find_images"]

_FRAME_SUFFIXES = (".eer", ".tif", ".tiff", ".mrc", ".mrcs")
_STACK_SUFFIXES = (".mrc", ".st", ".mrcs")
_SIZE_TOLERANCE = 0.03


@dataclass(frozen=True, kw_only=True)
class FoundImages:
    """The images of the views that are kept, in the order of recording.

    Attributes
    ----------
    kept
        places of the kept views among the series' views.
    images
        ``000001@stack.mrc`` or single images, or None where there are movies.
    movies, frame_counts
        frame files and how many frames each holds (of EER: raw frames), or None.
    frame_turn
        the turn that the frames of these files still want (`frame_turn.turn_image`).
    shape_px
        (height, width) after that turn.
    pixel_size_ang
        of these images, or None where nobody knows.
    place
        1-based place of each kept view in its stack; None for frame files.
    notes
        what was dropped or assumed.
    """

    kept: tuple[int, ...]
    images: tuple[str, ...] | None
    movies: tuple[str, ...] | None
    frame_counts: tuple[int, ...] | None
    shape_px: tuple[int, int]
    pixel_size_ang: float | None
    place: tuple[int, ...] | None
    notes: tuple[Note, ...]
    frame_turn: int = 0


def find_images(series: MdocSeries, frames: Path | None, given_pixel_size: float | None) -> FoundImages:
    """Frames where `frames` is given or SubFramePath's file exists; otherwise a stack whose sections are the ZValues.

    Parameters
    ----------
    series
        what the mdocs say.
    frames
        folder of the frame files, or None to look where SubFramePath says and beside the mdoc.
    given_pixel_size
        what the user states, Å; it is that of the stored images.

    Raises
    ------
    FormatError
        if neither is there (both places are named), more than half of the frame files are absent, a file is
        truncated, or the stack's size or number of sections does not fit the mdoc.
    """
    notes: list[Note] = []
    paths = [_find_frames(series, view, frames, notes) for view in series.views]
    found = [path for path in paths if path is not None]
    stack = None if frames is not None else _find_stacks(series, notes)
    complete = len(found) == len(paths)
    if found and (complete or stack is None):
        _tell_of_absent(series, paths, frames, notes)
        return _from_frames(series, paths, given_pixel_size, notes)
    if stack is not None:
        if found:
            text = f"{len(found)} of {len(paths)} frame files are there; the stack, which is whole, was taken"
            notes.append(Note(kind="warning", where=series.where, text=text))
        return _from_stacks(series, stack, given_pixel_size, notes)
    first = next((view for view in series.views if view.frames), series.views[0])
    places = f"no frames ({first.frames_text or 'no SubFramePath'}"
    places += f" in {frames}" if frames is not None else f", nor beside {first.where.partition(':')[0]}"
    names = ", ".join(str(path) for path in _stack_candidates(series, 0)) if frames is None else ""
    places += f") and no stack ({names})" if names else ")"
    raise FormatError(
        f"{series.where}: {places}", mend="name the frames' folder with --frames, or put the stack beside the mdoc"
    )


def _find_frames(series: MdocSeries, view: MdocView, folder: Path | None, notes: list[Note]) -> Path | None:
    if view.frames is None:
        return None
    beside = series.mdocs[view.source].path.parent
    if folder is None and view.frames_text and "\\" not in view.frames_text:
        literal = beside / view.frames_text.strip()
        if literal.is_file():
            return literal
    return _by_name(folder or beside, view, notes)


def _by_name(folder: Path, view: MdocView, notes: list[Note]) -> Path | None:
    """The file of that name; else one that differs in case or suffix alone, aloud."""
    name = view.frames or ""
    if (folder / name).is_file():
        return folder / name
    if not folder.is_dir():
        return None
    stem, _, suffix = name.rpartition(".")
    stem = stem if f".{suffix.lower()}" in _FRAME_SUFFIXES else name
    others = [folder / (stem + ending) for ending in _FRAME_SUFFIXES if (folder / (stem + ending)).is_file()]
    if not others:
        others = [path for path in folder.iterdir() if path.name.lower() == name.lower() and path.is_file()]
    if len(others) != 1:
        return None
    notes.append(Note(kind="assumed", where=view.where, text=f"{name} is not there; {others[0].name} was taken"))
    return others[0]


def _tell_of_absent(series: MdocSeries, paths: Sequence[Path | None], folder: Path | None, notes: list[Note]) -> None:
    """Each view without its frame file, and how many there are; more than half of them is no series."""
    absent = [view for view, path in zip(series.views, paths, strict=True) if path is None]
    if not absent:
        return
    count = f"{len(absent)} of {len(paths)} frame files are not there"
    if 2 * len(absent) > len(paths):
        named = next((view for view in absent if view.frames), absent[0])
        places = f"{named.frames_text or 'no SubFramePath'} does not exist, nor is it in "
        places += str(folder or series.mdocs[named.source].path.parent)
        raise FormatError(
            f"{series.where}: {count}: {places}",
            mend="copy them, name their folder with --frames, or take their sections out of the mdoc",
        )
    for view in absent:
        text = f"its frames {view.frames or '(no SubFramePath)'} are not there; the view was left out"
        notes.append(Note(kind="dropped", where=view.where, text=text))
    notes.append(Note(kind="warning", where=series.where, text=f"{count}: the series goes on without these views"))


def _from_frames(
    series: MdocSeries, paths: Sequence[Path | None], given_pixel_size: float | None, notes: list[Note]
) -> FoundImages:
    kept = [place for place, path in enumerate(paths) if path is not None]
    opened = [
        _open_frames(Path(path), series.views[place].where) for place, path in enumerate(paths) if path is not None
    ]
    files = tuple(str(path.resolve()) for path in paths if path is not None)
    shape = (opened[0].shape[1], opened[0].shape[2])
    for place, file in zip(kept, opened, strict=True):
        view = series.views[place]
        if file.shape[1:] != shape:
            raise FormatError(
                f"{view.where}: {file.path.name} has {file.shape[2]} × {file.shape[1]} pixels, the first file "
                f"{shape[1]} × {shape[0]}",
                mend="take the section out, or bring the files to one size",
            )
        if view.frame_count is not None and view.frame_count != file.raw_frames:
            text = (
                f"NumSubFrames says {view.frame_count}, {file.path.name} holds {file.raw_frames}; the file was believed"
            )
            notes.append(Note(kind="warning", where=view.where, text=text))
    turn, told = settle_turn(
        series.where, [series.views[place] for place in kept], [path for path in paths if path is not None]
    )
    notes += told
    pixel_size = given_pixel_size or _frame_pixel_size(series, shape, notes)
    counts = tuple(file.raw_frames for file in opened)
    plain = all(file.kind != "eer" for file in opened) and turn == 0  # motion counts events and turns frames
    single = set(counts) == {1} and plain
    if single:
        text = "each file holds one image: they were taken as the tilt images, not as movies"
        notes.append(Note(kind="info", where=series.where, text=text))
    return FoundImages(
        kept=tuple(kept),
        images=files if single else None,
        movies=None if single else files,
        frame_counts=None if single else counts,
        frame_turn=turn,
        shape_px=turn_shape(shape, turn),
        pixel_size_ang=pixel_size,
        place=None,
        notes=tuple(notes),
    )


def _open(path: Path, where: str) -> StackFile:
    try:
        return open_stack(path)
    except InputError as error:
        raise FormatError(f"{where}: {error.problem}", mend=error.mend or "copy the file again") from error


def _open_frames(path: Path, where: str) -> MovieFile:
    try:
        return open_movie(path)
    except InputError as error:
        mend = f"{error.mend or 'copy the file again'}, or move it away to go on without its view"
        raise FormatError(f"{where}: {error.problem}", mend=mend) from error


def _frame_pixel_size(series: MdocSeries, shape: tuple[int, int], notes: list[Note]) -> float | None:
    """PixelSpacing is that of the mdoc's images; frames may have a power of two more or fewer pixels."""
    spacing, size = series.pixel_size_ang, series.image_size_px
    if spacing is None:
        return None
    if size is None:
        text = f"no ImageSize: the frames' pixels were taken to be PixelSpacing, {spacing:g} Å; --pixel-size states it"
        notes.append(Note(kind="assumed", where=series.where, text=text))
        return spacing
    ratios = [stored / said for stored, said in zip(sorted(shape), sorted(size), strict=True)]
    factor = 2.0 ** round(math.log2(math.sqrt(ratios[0] * ratios[1])))
    if any(abs(ratio / factor - 1) > _SIZE_TOLERANCE for ratio in ratios):
        text = (
            f"frames of {shape[1]} × {shape[0]} pixels do not fit the images' {size[0]} × {size[1]}: "
            "the frames' pixel size is unknown"
        )
        notes.append(Note(kind="warning", where=series.where, text=text))
        return None
    if factor != 1:
        text = (
            f"frames of {shape[1]} × {shape[0]} pixels have {factor:g} times the images' {size[0]} × {size[1]}: their "
            f"pixel size was taken to be {spacing / factor:g} Å; --pixel-size states it"
        )
        notes.append(Note(kind="assumed", where=series.where, text=text))
    return spacing / factor


def _stack_candidates(series: MdocSeries, source: int) -> list[Path]:
    """ImageFile beside the mdoc, then the mdoc's own name without ``.mdoc``, then that with a stack's suffix."""
    mdoc = series.mdocs[source]
    image_file = file_name(mdoc.header.get("ImageFile"))
    own = mdoc.path.name.removesuffix(".mdoc")
    names = [image_file, own]
    for suffix in _STACK_SUFFIXES:
        bare = own.removesuffix(suffix)
        names.append(bare.removesuffix(OVERRIDE) + suffix)
    unique = dict.fromkeys(name for name in names if name)
    return [mdoc.path.parent / name for name in unique]


def _find_stacks(series: MdocSeries, notes: list[Note]) -> list[Path] | None:
    """One stack for each mdoc; None if any has none."""
    stacks = []
    for source, mdoc in enumerate(series.mdocs):
        candidates = [path for path in _stack_candidates(series, source) if path.is_file() and path != mdoc.path]
        if not candidates:
            return None
        stacks.append(candidates[0])
        said = file_name(mdoc.header.get("ImageFile"))
        if said is not None and candidates[0].name != said:
            text = f"ImageFile {said} is not there; {candidates[0].name} was taken"
            notes.append(Note(kind="assumed", where=mdoc.path.name, text=text))
    return stacks


def _from_stacks(
    series: MdocSeries, stacks: Sequence[Path], given_pixel_size: float | None, notes: list[Note]
) -> FoundImages:
    opened = [_open(path, series.mdocs[source].path.name) for source, path in enumerate(stacks)]
    for source, file in enumerate(opened):
        _check_sections(series, source, file, notes)
    shape = (opened[0].shape[1], opened[0].shape[2])
    if any(file.shape[1:] != shape for file in opened):
        raise FormatError(f"{series.where}: stacks of different sizes", mend="bring them to one size")
    pixel_size = given_pixel_size or _stack_pixel_size(series, opened[0], notes)
    if given_pixel_size is None:
        for file in opened[1:]:
            _stack_pixel_size(series, file, notes)
    numbers = [view.number or 0 for view in series.views]
    images = tuple(
        image_name(number, str(stacks[view.source].resolve()))
        for view, number in zip(series.views, numbers, strict=True)
    )
    return FoundImages(
        kept=tuple(range(len(series.views))),
        images=images,
        movies=None,
        frame_counts=None,
        shape_px=shape,
        pixel_size_ang=pixel_size,
        place=tuple(number + 1 for number in numbers) if len(stacks) == 1 else None,
        notes=tuple(notes),
    )


def _check_sections(series: MdocSeries, source: int, file: StackFile, notes: list[Note]) -> None:
    """Every ZValue must be a section of the stack; sections that no ZValue names are left out aloud."""
    views = [view for view in series.views if view.source == source]
    for view in views:
        if view.number is None:
            raise FormatError(
                f"{view.where}: a frame set without frames: it names no section of {file.path.name}",
                mend="name the frames' folder with --frames",
            )
    beyond = [view for view in views if (view.number or 0) >= len(file)]
    if beyond:
        raise FormatError(
            f"{beyond[0].where}: {file.path.name} has {len(file)} sections, the mdoc describes {len(views)}, up to "
            f"ZValue {max(view.number or 0 for view in views)}",
            mend="copy the stack again, or take the sections out that it does not hold",
        )
    unnamed = sorted(set(range(len(file))) - {view.number for view in views})
    if unnamed:
        text = f"no section of the mdoc describes image(s) {', '.join(str(number + 1) for number in unnamed)}; left out"
        notes.append(Note(kind="dropped", where=file.path.name, text=text))


def _stack_pixel_size(series: MdocSeries, file: StackFile, notes: list[Note]) -> float | None:
    """PixelSpacing, unless the stack was evidently resampled after the mdoc was written; its header is compared."""
    spacing, said, header = series.pixel_size_ang, series.image_size_px, file.pixel_size_ang
    where = file.path.name
    stored = (file.shape[2], file.shape[1])
    unset = header is None or abs(header - 1.0) < 1e-6
    if said is not None and said != stored:
        factor = said[0] / stored[0]
        scaled = (
            not unset and spacing is not None and header is not None and abs(header / (spacing * factor) - 1) < 0.02
        )
        if not scaled or abs(said[1] / stored[1] / factor - 1) > _SIZE_TOLERANCE:
            raise FormatError(
                f"{where}: {stored[0]} × {stored[1]} pixels, but {series.where} says ImageSize {said[0]} × {said[1]}",
                mend="check that this is the mdoc's stack; --pixel-size with a corrected ImageSize settles it",
            )
        text = (
            f"{stored[0]} × {stored[1]} pixels of {header:g} Å where the mdoc says {said[0]} × {said[1]} of "
            f"{spacing:g} Å: resampled since; the stack's own pixel size was taken"
        )
        notes.append(Note(kind="warning", where=where, text=text))
        return header
    if spacing is None:
        if unset:
            return None
        text = f"no PixelSpacing; {header:g} Å was taken, from the stack's header"
        notes.append(Note(kind="assumed", where=where, text=text))
        return header
    if not unset and header is not None and abs(header / spacing - 1) > 0.01:
        text = f"the header says {header:g} Å, PixelSpacing {spacing:g} Å; PixelSpacing was taken"
        notes.append(Note(kind="warning", where=where, text=text))
    return spacing
