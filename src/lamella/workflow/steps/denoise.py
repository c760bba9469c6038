"""`denoise`: tomograms with less noise, for looking, picking and segmenting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import lamella.tomograms as tomograms
from lamella.errors import InputError
from lamella.formats.denoised import DENOISED, refuse_denoised
from lamella.progress import Progress
from lamella.records import ArrayVolume, Tomogram, VolumeSource
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.halves import merge_halves
from lamella.tomograms.networks.checkpoint import Model
from lamella.tomograms.scratch import array_in_file
from lamella.workflow.context import Context
from lamella.workflow.needs import Needs
from lamella.workflow.steps.denoise_files import BOTH_HALVES, NETWORKS
from lamella.workflow.steps.denoise_network import network_of
from lamella.workflow.steps.denoise_support import write_support

__all__ = ["needs", "run"]


def needs(record: Tomogram, settings: DenoiseSettings) -> Needs:
    """Room for the result, and for both halves denoised while they are merged."""
    voxels = float(np.prod(record.size_px)) / record.binning**3
    judged = settings.support and record.even_volume is not None and record.odd_volume is not None
    volumes = 1 + 2 * (judged or settings.method in BOTH_HALVES) + judged
    return Needs(disk=4 * voxels * volumes, memory=0.0)


def run(record: Tomogram, settings: DenoiseSettings, context: Context) -> Tomogram:
    """Denoise the reconstruction of one series, and say what of it the data support; its halves stay as they are.

    With n2n and wedge it is the mean of both halves, each denoised by the network: that has less noise than what the
    network makes of the whole, which it was not trained on. Where there are two halves, each is denoised by itself for
    the map of support, whatever the method.

    Raises
    ------
    InputError
        if there is no reconstruction, its file was denoised already, or the method wants halves that there are not.
    """
    whole, *halves = [refuse_denoised(path) for path in _files(record, context)]
    share = 0.0
    if settings.method in NETWORKS and not settings.model:
        share = 0.9  # of the time is training
    model = network_of(record, settings, context, context.part("training", (0.0, share)))
    judged = settings.support and bool(halves)
    both = settings.method in BOTH_HALVES
    if settings.support and not halves:
        context.say("no map of support: there are no two half tomograms")
    quarter = (1 - share) / 4
    if both or judged:
        denoised = (
            _denoised_half(halves[0], settings, model, context, context.part("even half", (share, share + quarter))),
            _denoised_half(
                halves[1], settings, model, context, context.part("odd half", (share + quarter, share + 2 * quarter))
            ),
        )
    if both:
        with context.new_mrc(".mrc", whole.shape, record.voxel_size_ang, label=DENOISED) as writer:
            merged = merge_halves(whole, (halves[0], halves[1]), denoised, writer)
        context.measure(NoiseBefore=merged.noise_before, NoiseAfter=merged.noise_after)
        context.say(f"{settings.method}, the mean of both halves, on {context.device}")
    else:
        work = context.part("denoising", (share + 2 * quarter if judged else share, 1 - quarter if judged else 1.0))
        with context.new_mrc(".mrc", whole.shape, record.voxel_size_ang, label=DENOISED) as writer:
            result = tomograms.denoise(whole, settings, writer, model=model, device=context.device, progress=work)
        context.measure(NoiseBefore=result.noise_before, NoiseAfter=result.noise_after)
        mode = f" ({result.mode})" if result.mode else ""
        context.say(f"{result.method}{mode}, {result.iterations} steps, in {result.tiles} tiles on {result.device}")
    record = replace(record, denoised=context.name(context.outputs[-1]))
    if judged:
        part = context.part("support", (1 - quarter, 1.0))
        support = write_support(record, settings, (halves[0], halves[1]), denoised, context, part)
        record = replace(record, support=support)
    return record


def _files(record: Tomogram, context: Context) -> list[Path]:
    """The measured volumes: the whole, then both halves where there are two.

    Raises
    ------
    InputError
        if one that the record names is gone.
    """
    paths = [context.root / name for name in record.measured_volumes]
    for path in paths:
        if not path.is_file():
            raise InputError(
                f"{record.name}: {path.name} is gone", mend="run reconstruct again: it makes what is missing"
            )
    return paths


def _denoised_half(
    half: VolumeSource, settings: DenoiseSettings, model: Model | None, context: Context, progress: Progress
) -> ArrayVolume:
    """A half, denoised by itself, in a temporary file that goes with the array."""
    volume = ArrayVolume(array_in_file(half.shape, np.float32))
    tomograms.denoise(half, settings, volume, model=model, device=context.device, progress=progress)
    return volume
