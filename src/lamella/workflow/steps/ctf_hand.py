"""What `ctf` does about a hand of +1: its causes are told, and it is made −1 where the user says how."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from lamella.formats.images import image_name, open_images
from lamella.formats.mrc_writer import MrcWriter
from lamella.records import CtfProfiles, TiltSeries
from lamella.records.ctf_profiles import HAND_CAUSES, HAND_FIXED
from lamella.tilts.ctf_series import SERIES_SURE
from lamella.tilts.ctf_settings import CtfSettings
from lamella.tilts.hand_fix import fix_hand, weigh_causes
from lamella.workflow.context import Context

__all__ = ["IMAGES", "mirrored_profiles", "settle_hand"]

IMAGES: Mapping[str, str] = {"images": ".mrcs", "even_images": "_even.mrcs", "odd_images": "_odd.mrcs"}
"""Field of the record → ending of the file that mirrored images are written to."""

_DONE = {"axis": "the tilt axis was turned by 180°", "mirror": "the images were mirrored left to right"}


def settle_hand(series: TiltSeries, settings: CtfSettings, context: Context) -> TiltSeries:
    """Name the causes of a hand of +1, and mend it where the user says how.

    Parameters
    ----------
    series
        with the measured hand among its quality numbers, and a geometry.
    settings, context
        of the step.

    Returns
    -------
    TiltSeries
        as it was, or with the hand −1 and ``lamellaCtfHandFixed``; mirrored images are new stacks in the step's folder.
    """
    measured, confidence = series.quality.get("CtfMeasuredHand", 0.0), series.quality.get("CtfHandConfidence", 0.5)
    if measured <= 0:
        if settings.fix != "none":
            found = f"the data say {measured:+.0f}" if measured else "the hand was not measured"
            context.say(f"ctf.fix = {settings.fix} has nothing to mend: {found}")
        return series
    if confidence < SERIES_SURE:
        if settings.fix != "none":
            context.say(f"ctf.fix = {settings.fix} is not done: the hand is undecided (confidence {confidence:.3f})")
        return series
    causes = weigh_causes(series)
    series = series.with_changes(other={HAND_CAUSES: causes})
    if settings.fix == "none":
        context.say(f"warning: {causes}")
        return series
    fixed: TiltSeries = fix_hand(series, "axis") if settings.fix == "axis" else _mirrored(series, context)
    context.say(f"the data say +1 (confidence {confidence:.3f}): {_DONE[settings.fix]}, so the hand is −1")
    return fixed.with_changes(other={HAND_FIXED: settings.fix})


def mirrored_profiles(profiles: CtfProfiles) -> CtfProfiles:
    """Profiles of the mirrored images.

    A spectrum equals itself turned by 180°, so one that is mirrored left to right is one that is mirrored top to
    bottom: the measured half stays on the left.
    """
    pictures = profiles.pictures[:, ::-1]
    if pictures.shape[1] % 2 == 0:
        pictures = np.roll(pictures, 1, axis=1)  # about p // 2
    return replace(profiles, pictures=np.ascontiguousarray(pictures))


def _mirrored(series: TiltSeries, context: Context) -> TiltSeries:
    """The series with its images mirrored into new stacks."""
    names = {field: given for field in IMAGES if (given := getattr(series, field)) is not None}
    sources = {field: open_images(given, context.root) for field, given in names.items()}
    shape = (len(series), *series.image_shape_px)
    with ExitStack() as stack:
        writers: dict[str, MrcWriter] = {
            field: stack.enter_context(context.new_mrc(IMAGES[field], shape, series.pixel_size_ang)) for field in names
        }
        fixed: TiltSeries = fix_hand(
            series,
            "mirror",
            sources["images"],
            writers["images"].image_sink(),
            even=sources.get("even_images"),
            odd=sources.get("odd_images"),
            write_even=writers["even_images"].image_sink() if "even_images" in writers else None,
            write_odd=writers["odd_images"].image_sink() if "odd_images" in writers else None,
            progress=context.part("mirror the images", (0.95, 1.0)),
        )
    written = {
        field: tuple(image_name(view, context.name(writer.path)) for view in range(len(series)))
        for field, writer in writers.items()
    }
    return fixed.with_changes(**written)
