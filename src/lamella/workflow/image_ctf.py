"""The contrast transfer of single images, without a project: an image, each section of a stack, or a movie's sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import lamella.tilts as tilts
from lamella.errors import FormatError, ImageError, InputError
from lamella.formats.images import holds_volume
from lamella.formats.movies import MovieFile, StackMovie, open_movie
from lamella.formats.mrc import MrcFile
from lamella.progress import Progress, no_progress
from lamella.records import ArrayImages, Optics, TiltSeries
from lamella.tilts.ctf_result import CtfResult
from lamella.tilts.ctf_settings import CtfSettings

__all__ = ["HEADER", "ImageCtf", "OpenedImages", "estimate_images", "open_image_file"]

Image = NDArray[np.float32]

HEADER: Literal["header"] = "header"
_ALL_FRAMES = 2**31 - 1  # so many raw frames of an EER file make one
_NOBODYS_ANG = 1.0  # what a header says that nobody filled in


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageCtf:
    """What was found for one image.

    Attributes
    ----------
    section
        of the file, counted from 1; None where all of them were added up, or there is one.
    result
        of a series of one view.
    """

    section: int | None
    result: CtfResult


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenedImages:
    """A file of images, and what is known of them.

    Attributes
    ----------
    file
        the open file.
    sections
        those to estimate, counted from 0; None: the sum of all.
    pixel_size_ang, optics
        of the images.
    notes
        what was taken from the file or assumed, a sentence each.
    """

    file: MovieFile
    sections: tuple[int, ...] | None
    pixel_size_ang: float
    optics: Optics
    notes: tuple[str, ...]


def open_image_file(
    path: Path,
    *,
    pixel_size: float | Literal["header"] | None,
    voltage_kv: float | None = None,
    spherical_aberration_mm: float | None = None,
    amplitude_contrast: float | None = None,
    section: int | None = None,
    add_up: bool = False,
) -> OpenedImages:
    """Open a file and settle what its images are.

    Parameters
    ----------
    path
        MRC, TIFF or EER.
    pixel_size
        Å, or ``header``.
    voltage_kv
        None: what an extended header says.
    spherical_aberration_mm, amplitude_contrast
        None: 2.7 and 0.1.
    section
        the one section to take, counted from 1.
    add_up
        whether sections of an MRC file are frames to be added up, as those of EER files and the pages of TIFF files
        are; else each is an image of its own.

    Raises
    ------
    FormatError
        if the file cannot be read.
    ImageError
        if there is no such section.
    InputError
        if pixel size or voltage is stated by nobody, or a number is out of its bounds.
    """
    file = open_movie(path, eer_frames=_ALL_FRAMES)
    notes: list[str] = []
    pixel_size_ang = _pixel_size(file, pixel_size, notes)
    if voltage_kv is None:
        voltage_kv = _stated_voltage(file, notes)
    optics = Optics(
        voltage_kv=voltage_kv,
        **{
            name: value
            for name, value in (
                ("spherical_aberration_mm", spherical_aberration_mm),
                ("amplitude_contrast", amplitude_contrast),
            )
            if value is not None
        },
    )
    notes += [
        f"{what}, assumed"
        for value, what in (
            (spherical_aberration_mm, f"Cs {optics.spherical_aberration_mm:g} mm"),
            (amplitude_contrast, f"amplitude contrast {optics.amplitude_contrast:g}"),
        )
        if value is None
    ]
    sections = _sections(file, section, add_up, notes)
    return OpenedImages(file=file, sections=sections, pixel_size_ang=pixel_size_ang, optics=optics, notes=tuple(notes))


def estimate_images(
    opened: OpenedImages, settings: CtfSettings, progress: Progress = no_progress
) -> Iterator[ImageCtf]:
    """Estimate one image after the other.

    Raises
    ------
    ImageError
        if an image holds NaN or infinity, or is constant.
    """
    whole = opened.sections is None
    numbers: tuple[int | None, ...] = (None,) if opened.sections is None else opened.sections
    for done, number in enumerate(numbers):
        image = _sum(opened.file) if number is None else np.asarray(opened.file.frame(number), dtype=np.float32)
        several = len(opened.file) > 1 and not whole
        name = opened.file.path.name + (f", section {number + 1}" if several and number is not None else "")
        _check(image, name)
        series = TiltSeries(
            name=name,
            pixel_size_ang=opened.pixel_size_ang,
            image_shape_px=(image.shape[0], image.shape[1]),
            nominal_tilt_deg=np.zeros(1),
            nominal_axis_deg=np.zeros(1),
            optics=opened.optics,
        )

        def tell(fraction: float, text: str = "", done: int = done, name: str = name) -> None:
            progress((done + fraction) / len(numbers), text or name)

        result: CtfResult = tilts.estimate_ctf(series, ArrayImages(image[None]), settings, progress=tell)
        yield ImageCtf(section=number + 1 if several and number is not None else None, result=result)


def _sections(file: MovieFile, section: int | None, add_up: bool, notes: list[str]) -> tuple[int, ...] | None:
    count = len(file)
    if section is not None:
        if add_up:
            raise InputError("--section takes one section and --sum adds up all", mend="give one of them")
        if not 1 <= section <= count:
            raise ImageError(f"{file.path}: section {section} of {count}", mend=f"name one from 1 to {count}")
        return (section - 1,)
    if file.kind == "eer":
        notes.append(f"{file.raw_frames} raw frames added up as they are, without gain and motion correction")
        return None
    if count > 1 and (add_up or file.kind == "tiff"):
        notes.append(f"{count} frames added up as they are, without gain and motion correction (--section takes one)")
        return None
    if count > 1:
        notes.append(f"{count} sections, each an image of its own (--section takes one, --sum adds them up)")
        if isinstance(file, StackMovie) and holds_volume(file.stack):
            notes.append("the header says that it is a volume, not a stack: are its sections images?")
    return tuple(range(count))


def _pixel_size(file: MovieFile, given: float | str | None, notes: list[str]) -> float:
    if given is None:
        raise InputError(
            "--pixel-size is missing", mend="state it in Å, or write --pixel-size header if the file's header is right"
        )
    if isinstance(given, str):
        stated = file.pixel_size_ang
        if stated is None:
            raise FormatError(f"{file.path}: its header states no pixel size", mend="state --pixel-size in Å")
        doubt = ", which often means that nobody set it" if stated == _NOBODYS_ANG else ""
        notes.append(f"pixel size {stated:g} Å, from the header{doubt}")
        return float(stated)
    if not (np.isfinite(given) and given > 0):
        raise InputError(f"--pixel-size {given:g}", mend="state it in Å, such as 1.35")
    return given


def _stated_voltage(file: MovieFile, notes: list[str]) -> float:
    stack = file.stack if isinstance(file, StackMovie) else None
    sections = stack.extended if isinstance(stack, MrcFile) else ()
    stated = sections[0].get("voltage_kv") if sections else None
    if stated is None:
        raise InputError("--voltage is missing", mend="state it in kV, such as 300")
    notes.append(f"voltage {stated:g} kV, from the header")
    return float(stated)


def _sum(file: MovieFile) -> Image:
    total = np.zeros(file.shape[1:], dtype=np.float32)
    for index in range(len(file)):
        total += file.frame(index)
    return total


def _check(image: Image, name: str) -> None:
    bad = int(image.size - np.isfinite(image).sum())
    if bad:
        raise ImageError(f"{name}: {bad} pixels are NaN or infinite", mend="repair the image")
    if float(np.ptp(image)) == 0:
        raise ImageError(f"{name}: every pixel is {image.flat[0]:g}", mend="give an image that shows something")
