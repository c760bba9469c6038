"""`lamella new PROJECT`: a project from mdoc files, or from a bare stack."""

from __future__ import annotations

import glob as globbing
import json as json_text
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lamella.cli.options import Json, Option
from lamella.errors import InputError

if TYPE_CHECKING:
    from lamella.formats.overrides import Imported, Overrides
    from lamella.records import Note
    from lamella.workflow.watch_source import RawSource

__all__ = ["new"]

_NOTES_PER_TEXT = 3


def new(
    project: Annotated[Path, Option(help="the folder to make")],
    /,
    *,
    mdoc: Annotated[
        list[str] | None,
        Option(
            name="--mdoc", help="mdoc files, or a pattern in quotes: 'DIR/*.mdoc'", consume_multiple=True, negative=""
        ),
    ] = None,
    frames: Annotated[
        Path | None, Option(name="--frames", help="folder of the frame files that the mdocs name")
    ] = None,
    session: Annotated[
        Path | None,
        Option(
            name="--session",
            help="folder of the session (`lamella acquire`) whose geometry is a start for align and ctf; left out: the "
            "one that the mdocs lie in",
        ),
    ] = None,
    gain: Annotated[
        str | None, Option(name="--gain", help="gain reference of the movies: MRC, TIFF, DM4 or .gain")
    ] = None,
    gain_flip: Annotated[
        str | None, Option(name="--gain-flip", help="none, up-down, left-right or auto, after its rotation")
    ] = None,
    gain_rotation: Annotated[
        str | None, Option(name="--gain-rotation", help="counter-clockwise: 0, 90, 180, 270 or auto")
    ] = None,
    dark: Annotated[str | None, Option(name="--dark", help="dark reference of the movies: MRC, TIFF or DM4")] = None,
    defects: Annotated[
        str | None, Option(name="--defects", help="bad pixels: an image, or a text of x y width height lines")
    ] = None,
    stack: Annotated[Path | None, Option(name="--stack", help="a stack without mdoc, MRC or TIFF")] = None,
    angles: Annotated[
        str | None,
        Option(
            name="--angles",
            help="of the stack's images: a file (.rawtlt, .tlt), START,STEP in degrees, or header",
            allow_leading_hyphen=True,
        ),
    ] = None,
    pixel_size: Annotated[
        str | None, Option(name="--pixel-size", help="of the images, in Å, or header (stack)")
    ] = None,
    tilt_axis: Annotated[
        str | None,
        Option(
            name="--tilt-axis",
            help="direction of the tilt axis in the image, in degrees as IMOD states it, or header (stack)",
            allow_leading_hyphen=True,
        ),
    ] = None,
    voltage: Annotated[float | None, Option(name="--voltage", help="in kV")] = None,
    cs: Annotated[float | None, Option(name="--cs", help="spherical aberration, in mm")] = None,
    amplitude_contrast: Annotated[float | None, Option(name="--amplitude-contrast", help="a fraction")] = None,
    dose_per_tilt: Annotated[float | None, Option(name="--dose-per-tilt", help="of each view, in e/Å²")] = None,
    prior_dose: Annotated[float | None, Option(name="--prior-dose", help="before the first view, in e/Å²")] = None,
    imaging: Annotated[str | None, Option(name="--imaging", help="bright or dark (field)")] = None,
    later: Annotated[
        bool,
        Option(
            name="--later",
            negative="",
            help="take in no series yet: `lamella watch` does, as the microscope completes each that --mdoc describes",
        ),
    ] = False,
    json: Json = False,
) -> int:
    """Make a project: understand the raw data, and write what was understood. No image is copied.

    Either --mdoc, or --stack with --angles, --pixel-size and --tilt-axis. A value given here overrides what the files
    say; every override, assumption and dropped section is reported. The options of movies become settings of `motion`.
    """
    if (mdoc is None) == (stack is None):
        raise InputError(
            "give either --mdoc or --stack" + ("" if mdoc is None else ", not both"),
            mend="--mdoc 'DIR/*.mdoc', or --stack FILE --angles FILE --pixel-size A --tilt-axis DEG",
        )
    from lamella.workflow.new import check_new_folder, create_project
    from lamella.workflow.references import settle_references
    from lamella.workflow.watch_source import RawSource

    check_new_folder(project)
    references = {
        "gain": gain,
        "gain_flip": gain_flip,
        "gain_rotation": gain_rotation,
        "dark": dark,
        "defects": defects,
    }
    given = {
        "voltage_kv": voltage,
        "spherical_aberration_mm": cs,
        "amplitude_contrast": amplitude_contrast,
        "dose_per_tilt": dose_per_tilt,
        "prior_dose": prior_dose,
        "imaging": imaging,
    }
    if mdoc is not None and angles is not None:
        raise InputError("--angles belongs to --stack", mend="an mdoc states its own angles: leave it out")
    if stack is not None and frames is not None:
        raise InputError("--frames belongs to --mdoc", mend="leave it out")
    if stack is not None and session is not None:
        raise InputError("--session belongs to --mdoc", mend="leave it out")
    if stack is not None and later:
        raise InputError("--later belongs to --mdoc", mend="leave it out")
    overrides = _overrides(pixel_size, tilt_axis, given) if stack is None else None
    source = None
    if mdoc is not None:
        source = RawSource.of(mdoc, frames=frames, session=session, overrides=overrides, references=references)
        if later:
            return _make_later(project, source, json)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if stack is not None:
            imported = _from_stack(stack, angles, pixel_size, tilt_axis, given)
        else:
            imported = _from_mdoc(mdoc or [], frames, session, overrides)
        motion, notes = settle_references(imported, references)
        imported = replace(imported, notes=(*imported.notes, *notes))
        made = create_project(project, imported, motion)
        if source is not None:
            source.write(made)
    _tell(project, imported, json, str(made.root))
    _tell_warnings(imported, [str(entry.message) for entry in caught])
    return 0


def _overrides(pixel_size: str | None, tilt_axis: str | None, given: dict[str, Any]) -> Overrides:
    from lamella.formats.overrides import Overrides

    return Overrides(
        pixel_size_ang=_number(pixel_size, "--pixel-size"), tilt_axis_deg=_number(tilt_axis, "--tilt-axis"), **given
    )


def _make_later(project: Path, source: RawSource, json: bool) -> int:
    """A project that has no series yet."""
    from lamella.formats.overrides import Imported
    from lamella.workflow.new import create_project

    made = create_project(project, Imported(series=(), notes=()), empty=True)
    source.write(made)
    print(f"project {project} made, without series yet; next: lamella watch {project}")
    if json:
        print(json_text.dumps({"project": str(made.root), "series": [], "notes": []}, ensure_ascii=False))
    return 0


def _from_mdoc(
    patterns: list[str],
    frames: Path | None,
    session: Path | None,
    overrides: Overrides | None,
) -> Imported:
    from lamella.formats.mdoc_series import series_from_mdoc
    from lamella.formats.session_prior import session_geometries, with_session_prior

    files: list[Path] = []
    for pattern in patterns:
        found = [Path(pattern)] if Path(pattern).is_file() else [Path(name) for name in sorted(globbing.glob(pattern))]
        if not found:
            raise InputError(f"--mdoc {pattern} matches no file", mend="check the pattern, and put it in quotes")
        files += found
    if frames is not None and not frames.is_dir():
        raise InputError(f"--frames {frames} is no folder", mend="give the folder that holds the frame files")
    imported = series_from_mdoc(files, frames=frames, overrides=overrides)
    geometries = session_geometries(files) if session is None else [_given(session)]
    return with_session_prior(imported, geometries)


def _given(session: Path) -> Path:
    """The geometry that the user names, which must be there."""
    from lamella.formats.session_prior import session_geometry

    named = session_geometry(session)
    if not named.is_file():
        raise InputError(
            f"--session {session}: no geometry is there",
            mend="give a session's folder, or its geometry/tilt_series.star",
        )
    return named


def _from_stack(
    stack: Path, angles: str | None, pixel_size: str | None, tilt_axis: str | None, given: dict[str, Any]
) -> Imported:
    from lamella.formats.bare_stack import series_from_stack
    from lamella.formats.overrides import Overrides

    if angles is None:
        raise InputError("--angles is missing", mend="give a file of angles, START,STEP in degrees, or header")
    if pixel_size is None:
        raise InputError(
            "--pixel-size is missing", mend="state it in Å, or write --pixel-size header if the stack's header is right"
        )
    if tilt_axis is None:
        raise InputError(
            "--tilt-axis is missing",
            mend="state it in degrees, or write --tilt-axis header if the stack's header is right",
        )
    return series_from_stack(
        stack,
        angles=angles,
        pixel_size="header" if pixel_size == "header" else _number(pixel_size, "--pixel-size"),
        tilt_axis="header" if tilt_axis == "header" else _number(tilt_axis, "--tilt-axis"),
        overrides=Overrides(**given),
    )


def _number(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option} {text} is no number", mend="write it as a plain number, such as 1.35") from None


def _tell(path: Path, imported: Imported, json: bool, root: str) -> None:
    for series in imported.series:
        tilts = series.nominal_tilt_deg
        height, width = series.image_shape_px
        what = "movies" if series.images is None else "images"
        print(
            f"{series.name}: {len(series)} {what} of {width} × {height} px at {series.pixel_size_ang:g} Å, tilts "
            f"{tilts.min():g}° to {tilts.max():g}°, axis {series.nominal_axis_deg[0]:g}°"
        )
    for line in _grouped(imported.notes):
        print("  " + line)
    print(f"project {path} made; next: lamella run {path}")
    if json:
        notes = [{"kind": note.kind, "where": note.where, "text": note.text} for note in imported.notes]
        names = [series.name for series in imported.series]
        print(json_text.dumps({"project": root, "series": names, "notes": notes}, ensure_ascii=False))


def _tell_warnings(imported: Imported, texts: list[str]) -> None:
    """Warnings of readers, unless a note says the same."""
    told = [note.text for note in imported.notes]
    for text in dict.fromkeys(texts):
        if not any(note in text for note in told):
            print(f"  warning: {text}")


def _grouped(notes: tuple[Note, ...]) -> list[str]:
    """Notes with one text stand in one line, with the first few places that they are about."""
    places: dict[tuple[str, str], list[str]] = {}
    for note in notes:
        places.setdefault((note.kind, note.text), []).append(note.where)
    lines = []
    for (kind, text), where in places.items():
        few = list(dict.fromkeys(where))
        more = f" and {len(few) - _NOTES_PER_TEXT} more" if len(few) > _NOTES_PER_TEXT else ""
        lines.append(f"{kind}: {', '.join(few[:_NOTES_PER_TEXT])}{more}: {text}")
    return lines
