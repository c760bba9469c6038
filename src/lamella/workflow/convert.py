"""Filter, resample, bin, crop and pad a stack or a volume, and rescale its grey values: what `lamella convert` does.

Stacks go image by image. Volumes go section by section too, unless they are filtered or their pixels change, which
wants the whole volume in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.formats.denoised import DENOISED, is_denoised
from lamella.formats.images import holds_volume, open_stack
from lamella.formats.sections import write_sections
from lamella.progress import Progress, no_progress
from lamella.records import Note
from lamella.workflow.convert_grey import GreyValues
from lamella.workflow.convert_plan import ConvertPlan, Shape
from lamella.workflow.convert_settings import ConvertSettings

__all__ = ["ConvertResult", "convert_volume"]

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """What was written.

    Attributes
    ----------
    shape
        (z, y, x), or (images, height, width).
    pixel_size_ang
        of the output; None where neither the input nor the settings state one.
    clipped
        grey values that did not fit the type and were set to its lowest or highest.
    notes
        what was assumed on the way.
    """

    shape: Shape
    pixel_size_ang: float | None
    clipped: int
    notes: tuple[Note, ...]


def convert_volume(
    source: Path | str, target: Path | str, settings: ConvertSettings, progress: Progress = no_progress
) -> ConvertResult:
    """Read a stack or volume (MRC, TIFF, OME-Zarr), change it, and write it; the target's suffix names its format.

    A volume that was denoised says so in its copy, too.

    Parameters
    ----------
    source, target
        the files; they differ.
    settings
        what to do.
    progress
        told how far it is.

    Raises
    ------
    SettingsError
        if a size, a pixel size, a binning or a filter does not fit the input.
    ImageError
        if the input holds NaN, or is too large a volume for the memory.
    OutputError
        if the target cannot be written.

    Notes
    -----
    Steps follow each other as the settings do: filter, new pixels, new size, grey values, type. A change of the pixel
    size, cropping and padding keep the centre pixel (n // 2); binning keeps pixel 0, so that binned pixel i is pixel
    b·i of the input, and drops the last pixels of a side that is no multiple of b.
    """
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target} is the input itself", mend="name another file")
    file = open_stack(source)
    is_volume = holds_volume(file) if settings.kind == "auto" else settings.kind == "volume"
    notes = list(getattr(file, "notes", ()))
    if settings.kind == "auto":
        what = "one volume" if is_volume else "a stack of images"
        notes.append(Note(kind="assumed", where=str(source), text=f"taken for {what} (--kind says otherwise)"))
    pixel = settings.input_pixel_size or file.pixel_size_ang
    plan = ConvertPlan.of(file, is_volume, settings, pixel, notes)
    grey = GreyValues.of(settings, plan, lambda share: progress(share / 2, "measuring grey values"))
    started = 0.5 if grey.measured else 0.0

    def finished() -> Iterator[Array]:
        for index, section in enumerate(plan.sections()):
            yield grey(section)
            progress(started + (1 - started) * (index + 1) / plan.shape[0], "writing")

    written = None if pixel is None else settings.pixel_size or pixel * settings.bin
    if written is None:
        text = "no pixel size is known: 1 Å is written (state it with --input-pixel-size)"
        notes.append(Note(kind="assumed", where=str(target), text=text))
    write_sections(
        target,
        plan.shape,
        finished(),
        written or 1.0,
        settings.dtype,
        stack=not is_volume,
        zarr_version=settings.ome_zarr,
        label=DENOISED if is_denoised(file) else "",
    )
    if grey.clipped:
        text = f"{grey.clipped} grey values did not fit {settings.dtype} and were clipped"
        notes.append(Note(kind="warning", where=str(target), text=text))
    return ConvertResult(shape=plan.shape, pixel_size_ang=written, clipped=grey.clipped, notes=tuple(notes))
