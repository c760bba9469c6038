"""Tilt series from mdoc files: everything that they say is taken, or told of.

The rules are written down in ``docs/reference/import.md``. `interpret` understands the text alone; `series_from_mdoc`
finds the images as well and makes records.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamella.errors import FormatError
from lamella.formats.image_shift_groups import optics_groups
from lamella.formats.mdoc import Mdoc, read_mdoc
from lamella.formats.mdoc_images import FoundImages, find_images
from lamella.formats.mdoc_interpret import OVERRIDE, MdocSeries, NotATiltSeries, interpret, series_name
from lamella.formats.mdoc_references import named_references
from lamella.formats.mdoc_values import file_name
from lamella.formats.overrides import Imported, Overrides, settle_imaging, settle_optics
from lamella.records import Note, TiltSeries

__all__ = ["MdocSeries", "grouped_mdocs", "interpret", "series_from_mdoc", "series_name"]

_DATE = re.compile(r"_[A-Z][a-z]{2}\d{1,2}_\d{1,2}\.\d{2}\.\d{2}$")
_ANGLE = re.compile(r"_[-+]?\d+(?:\.\d+)?$")
_COUNTER = re.compile(r"_\d+$")


def series_from_mdoc(
    mdocs: Sequence[Path], *, frames: Path | None = None, overrides: Overrides | None = None
) -> Imported:
    """Make records of the tilt series that mdoc files describe.

    Parameters
    ----------
    mdocs
        the files; several may describe one series (frame sets, ``NAME.mdoc`` beside ``NAME.mrc.mdoc``), and
        ``NAME_override.mdoc`` stands in for ``NAME.mdoc``.
    frames
        folder of the frame files.
    overrides
        what the user states over the files.

    Returns
    -------
    Imported
        series by name, views by rising tilt angle, and what was assumed, dropped, overridden or contradictory.

    Raises
    ------
    FormatError
        if a file cannot be read, or images, angles or their order are in doubt; the section is named.
    """
    overrides = overrides or Overrides()
    if not mdocs:
        raise FormatError("no mdoc file", mend="check the pattern of --mdoc")
    notes: list[Note] = []
    parsed = [read_mdoc(path) for path in dict.fromkeys(Path(path) for path in mdocs)]
    groups = _group(_without_overridden(parsed, notes), notes)
    described: list[MdocSeries] = []
    refused: list[NotATiltSeries] = []
    for name, files in groups:
        try:
            series = interpret(files, overrides, name=name)
            _refuse_single_picture(series)
        except NotATiltSeries as error:
            refused.append(error)
            continue
        described.append(series)
    if not described:
        raise refused[0]
    for refusal in refused:
        where, _, what = refusal.problem.partition(": ")
        notes.append(Note(kind="dropped", where=where, text=f"{what}; the file was left out"))
    _refuse_namesakes(described)
    optics_names, optics_notes = optics_groups(described)
    records = []
    for series, group in zip(described, optics_names, strict=True):
        record, series_notes = _record(series, find_images(series, frames, overrides.pixel_size_ang), overrides, group)
        records.append(record)
        notes += series_notes
    movies = [(one, record.movies) for one, record in zip(described, records, strict=True) if record.movies]
    return Imported(tuple(records), (*notes, *optics_notes), named_references(movies))


def grouped_mdocs(paths: Sequence[Path]) -> list[tuple[str, tuple[Mdoc, ...]]]:
    """The files of each series by its name, as `series_from_mdoc` puts them together.

    Raises
    ------
    FormatError
        if a file cannot be read.
    """
    return _group(_without_overridden([read_mdoc(path) for path in paths], []), [])


def _without_overridden(mdocs: Sequence[Mdoc], notes: list[Note]) -> list[Mdoc]:
    """Leave out every file in whose place an ``_override`` was given."""
    overriding = {
        (mdoc.path.parent.resolve(), series_name(mdoc.path.name)): mdoc for mdoc in mdocs if _is_override(mdoc.path)
    }
    kept = []
    for mdoc in mdocs:
        stand_in = overriding.get((mdoc.path.parent.resolve(), series_name(mdoc.path.name)))
        if stand_in is not None and stand_in is not mdoc:
            text = f"{stand_in.path.name} stands in for this file"
            notes.append(Note(kind="dropped", where=mdoc.path.name, text=text))
            continue
        if stand_in is None:
            beside = mdoc.path.with_name(mdoc.path.name.removesuffix(".mdoc") + f"{OVERRIDE}.mdoc")
            if beside.is_file():
                text = f"{beside.name} lies beside it, but was not given, and was not used"
                notes.append(Note(kind="warning", where=mdoc.path.name, text=text))
        kept.append(mdoc)
    return kept


def _is_override(path: Path) -> bool:
    bare = path.name.removesuffix(".mdoc")
    return any(bare.removesuffix(suffix).endswith(OVERRIDE) for suffix in ("", ".mrc", ".st", ".mrcs"))


def _group(mdocs: Sequence[Mdoc], notes: list[Note]) -> list[tuple[str, tuple[Mdoc, ...]]]:
    """Files of one series together: the same name in one folder, or frame sets whose names differ by view alone."""
    groups: dict[tuple[Path, str], list[Mdoc]] = {}
    for mdoc in sorted(mdocs, key=lambda mdoc: str(mdoc.path)):
        name = _frame_set_stem(mdoc) or series_name(mdoc.path.name)
        groups.setdefault((mdoc.path.parent.resolve(), name), []).append(mdoc)
    for (_, name), files in groups.items():
        if len(files) > 1:
            listed = ", ".join(mdoc.path.name for mdoc in files[:3]) + (", …" if len(files) > 3 else "")
            text = f"{len(files)} files were taken as one series: {listed}"
            notes.append(Note(kind="assumed", where=name, text=text))
    return [(name, tuple(files)) for (_, name), files in groups.items()]


def _frame_set_stem(mdoc: Mdoc) -> str | None:
    """Name of the series of a file that describes the frames of one view: ``ts_012_33.0_Oct08_07.39.05`` is of ``ts``.

    SerialEM names a view's frames by the series' name, a counter, the angle and the date, most of them optional.
    """
    sections = mdoc.sections
    if [section.kind for section in sections] != ["FrameSet"]:
        return None
    stem = mdoc.path.name.removesuffix(".mdoc")
    frames = file_name(sections[0].get("SubFramePath"))
    for name in (frames, stem):
        if name and "." in name:
            suffix = name.rpartition(".")[2]
            stem = stem.removesuffix(f".{suffix}") if not suffix.isdigit() else stem
    bare = _DATE.sub("", stem)
    angle = _ANGLE.search(bare)
    tilt = sections[0].get("TiltAngle")
    if angle is None or tilt is None or not _close(angle[0][1:], tilt):
        return bare or None
    return _COUNTER.sub("", bare[: angle.start()]) or None


def _close(first: str, second: str) -> bool:
    try:
        return abs(float(first) - float(second)) <= 0.6
    except ValueError:
        return False


def _refuse_single_picture(series: MdocSeries) -> None:
    if len(series.views) == 1:
        raise NotATiltSeries(f"{series.where}: a single view, not a tilt series", mend="leave the file out")


def _refuse_namesakes(described: Sequence[MdocSeries]) -> None:
    for name, count in Counter(series.name for series in described).items():
        if count > 1:
            paths = ", ".join(str(series.mdocs[0].path) for series in described if series.name == name)
            raise FormatError(f"{count} tilt series are called {name}: {paths}", mend="rename one, with its mdoc")


def _record(
    series: MdocSeries, found: FoundImages, overrides: Overrides, optics_group: str
) -> tuple[TiltSeries, tuple[Note, ...]]:
    if found.pixel_size_ang is None:
        raise FormatError(f"{series.where}: nobody states the pixel size", mend="state it with --pixel-size")
    if series.tilt_axis_deg is None:
        raise FormatError(
            f"{series.where}: nobody states the tilt axis (RotationAngle is not it)", mend="state it with --tilt-axis"
        )
    optics, optics_notes = settle_optics(overrides, series.voltage_kv, series.where)
    imaging, imaging_notes = settle_imaging(overrides, series.where)
    kept = np.array(found.kept)
    views = [series.views[place] for place in found.kept]
    count = len(views)
    defocus = [view.target_defocus_um for view in views]
    turns = {turn for view in views if (turn := view.rotation_and_flip) is not None}
    numbers = [view.number for view in views]
    place = found.place
    if place is None:
        numbered = None not in numbers and len(set(numbers)) == count
        place = tuple((number or 0) + 1 if numbered else rank + 1 for rank, number in enumerate(numbers))
    record = TiltSeries(
        name=series.name,
        pixel_size_ang=found.pixel_size_ang,
        image_shape_px=found.shape_px,
        nominal_tilt_deg=series.tilt_deg[kept],
        nominal_axis_deg=np.full(count, series.tilt_axis_deg),
        images=found.images,
        movies=found.movies,
        frame_counts=None if found.frame_counts is None else np.array(found.frame_counts, dtype=np.int64),
        frame_turn=found.frame_turn,
        pre_exposure=None if series.pre_exposure is None else series.pre_exposure[kept],
        place=np.array(place, dtype=np.int64),
        original_pixel_size_ang=found.pixel_size_ang,
        optics=optics,
        optics_group=optics_group,
        imaging=imaging,
        scores={"AcquisitionOrder": kept.astype(np.float64) + 1},
        quality={"RotationAndFlip": float(turns.pop())} if len(turns) == 1 else {},
        other_columns={}
        if None in defocus
        else {"rlnTomoNominalDefocus": tuple(f"{value:.6f}" for value in defocus if value is not None)},
    )
    return record.sorted_by_tilt(), (*series.notes, *found.notes, *optics_notes, *imaging_notes)
