"""`denoise`: tomograms with less noise, for looking, picking and segmenting."""

from __future__ import annotations

from dataclasses import replace

import lamella.tomograms as tomograms
from lamella.formats.denoised import DENOISED, refuse_denoised
from lamella.records import Tomogram
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.workflow.context import Context

__all__ = ["run"]


def run(record: Tomogram, settings: DenoiseSettings, context: Context) -> Tomogram:
    """Denoise the whole reconstruction of one series; its halves stay as they are.

    Raises
    ------
    InputError
        if there is no reconstruction, or its file was denoised already.
    """
    volume, *_halves = [refuse_denoised(context.root / name) for name in record.measured_volumes]
    with context.new_mrc(".mrc", volume.shape, record.voxel_size_ang, label=DENOISED) as writer:
        result = tomograms.denoise(volume, settings, writer, device=context.device, progress=context.progress)
    context.measure(NoiseBefore=result.noise_before, NoiseAfter=result.noise_after)
    mode = f" ({result.mode})" if result.mode else ""
    context.say(f"{result.method}{mode}, {result.iterations} steps, in {result.tiles} tiles on {result.device}")
    return replace(record, denoised=context.name(context.outputs[-1]))
