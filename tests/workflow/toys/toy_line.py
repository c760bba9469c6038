"""A line of small steps whose results can be told by heart, importable by workers and by killed processes."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from lamella.errors import ImageError
from lamella.formats.images import image_name, open_images, open_volume
from lamella.records import Tomogram
from lamella.settings import StepSettings, setting
from lamella.workflow.steps import Step


class ScaleSettings(StepSettings):
    factor: float = setting(2.0, "what pixels are multiplied by", gt=0, le=100)
    refuse: str = setting("", "name of a series that fails")
    pause: float = setting(0.0, "time taken before and after each view", unit="s", ge=0)
    views: tuple[int, ...] = setting((), "unused list of views")


class StackSettings(StepSettings):
    halves: bool = setting(True, "write halves too")
    mode: str | None = setting(None, "a word, or nothing")


class InvertSettings(StepSettings):
    offset: float = setting(0.0, "added after the sign is turned")


def scale(record, settings, context):
    if record.name == settings.refuse:
        raise ImageError(f"{record.name}: refused", mend="ask for another")
    if settings.refuse == "bug":
        raise RuntimeError("nobody foresaw this")
    if settings.refuse == "death":
        os._exit(9)
    images = open_images(record.images, context.root)
    with context.new_mrc(".mrcs", images.shape, record.pixel_size_ang) as writer:
        for index in range(len(images)):
            time.sleep(settings.pause)
            writer(index, 0, 0, images.view(index)[None] * np.float32(settings.factor))
            time.sleep(settings.pause)
            context.progress((index + 1) / len(images), f"view {index + 1}")
    count = context.root / f"../{record.name}.count"
    count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
    name = context.name(context.outputs[0])
    context.say("scaled")
    context.measure(Factor=settings.factor)
    return record.with_changes(images=tuple(image_name(i, name) for i in range(len(images))))


def stack(record, settings, context):
    images = open_images(record.images, context.root)
    whole = np.stack([images.view(i) for i in range(len(images) // 2 * 2)])
    endings = ("", "_even", "_odd") if settings.halves else ("",)
    files = {}
    for ending in endings:
        with context.new_mrc(f"{ending}.mrc", whole.shape, record.pixel_size_ang) as writer:
            writer(0, 0, 0, whole)
        files[ending] = context.name(context.outputs[-1])
    nz, ny, nx = whole.shape
    return Tomogram(
        tilt_series=record,
        size_px=(nx, ny, nz),
        volume=files[""],
        even_volume=files.get("_even"),
        odd_volume=files.get("_odd"),
        quality={"MeanGrey": float(whole.mean())},
    )


def invert(record, settings, context):
    volume = open_volume(record.volume, context.root)
    with context.new_mrc(".mrc", volume.shape, record.voxel_size_ang) as writer:
        writer(0, 0, 0, settings.offset - volume.block(slice(None), slice(None), slice(None)))
    return replace(record, denoised=context.name(context.outputs[-1]))


def skip(record, settings, context):
    context.pass_on("there is nothing to do here")
    return record


LINE = (
    Step(name="motion", summary="pass on", settings_path="lamella.settings:StepSettings", run_path="toy_line:skip"),
    Step(name="clean", summary="scale", settings_path="toy_line:ScaleSettings", run_path="toy_line:scale"),
    Step(
        name="reconstruct",
        summary="stack",
        settings_path="toy_line:StackSettings",
        run_path="toy_line:stack",
        gives="tomograms",
    ),
    Step(
        name="denoise",
        summary="invert",
        settings_path="toy_line:InvertSettings",
        run_path="toy_line:invert",
        takes="tomograms",
        gives="tomograms",
    ),
)


def run_in_this_process(root: Path) -> int:
    """What a process that is to be killed runs."""
    from lamella.workflow import steps

    steps.LINE = LINE
    from lamella.cli import main

    return main(["run", str(root), "--no-report"])


if __name__ == "__main__":
    import sys

    sys.exit(run_in_this_process(Path(sys.argv[1])))
