"""The network of `denoise`: read from a file, or trained on the tomogram itself, which a killed run goes on with."""

from __future__ import annotations

from pathlib import Path

import lamella.tomograms as tomograms
from lamella.errors import InputError
from lamella.formats.denoised import refuse_denoised
from lamella.progress import Progress
from lamella.records import Tomogram
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.networks.checkpoint import Model, read_model, write_model
from lamella.tomograms.networks.inference import check_model
from lamella.tomograms.networks.patches import TrainingSet
from lamella.tomograms.networks.wedge import Wedge
from lamella.workflow.context import Context
from lamella.workflow.steps.denoise_files import NETWORKS, model_path

__all__ = ["network_of", "training_set", "unfinished"]


def network_of(record: Tomogram, settings: DenoiseSettings, context: Context, progress: Progress) -> Model | None:
    """The network that denoises this tomogram; None where the method wants none.

    A training leaves NAME_training.pt after every epoch, from which the same step goes on after a kill, and at its end
    NAME_model.pt.

    Raises
    ------
    InputError
        if the method wants both halves and there are none, or the network in the file does not suit the tomogram.
    FormatError
        if the file is no trained network.
    """
    if settings.method not in NETWORKS:
        return None
    source = training_set(record, settings, context.root)
    path = model_path(settings, context.root)
    if path is not None:
        model = read_model(path)
        check_model(model, record.voxel_size_ang, bright_field=source.bright_field)
        context.say(f"network of {settings.model}, trained on {', '.join(model.trained_on)} by {model.version}")
        return model
    kept = context.folder / f"{context.series}_training.pt"
    model = tomograms.train(
        [source],
        settings,
        start=unfinished(kept),
        keep=lambda model: write_model(kept, model),
        device=context.device,
        progress=progress,
    )
    with context.new_file("_model.pt") as place:
        write_model(place, model)
    kept.unlink(missing_ok=True)
    best = model.best
    context.measure(
        TrainEpochs=len(model.curve),
        TrainLoss=best.loss,
        HeldOutLoss=best.held_out,
        TrainSeconds=model.curve[-1].seconds,
    )
    context.say(
        f"trained for {len(model.curve)} epochs, {model.curve[-1].seconds:.0f} s; the best, {best.number}, leaves "
        f"{best.held_out:.4f} of the fine noise's variance where it was held out"
    )
    return model


def training_set(record: Tomogram, settings: DenoiseSettings, root: Path) -> TrainingSet:
    """What a network learns from one tomogram: its halves, or for noise2void the whole.

    Raises
    ------
    InputError
        if a volume is missing, was denoised already, or the method wants tilt angles that are not solved.
    """
    whole, *halves = [refuse_denoised(root / name) for name in record.measured_volumes]
    if settings.method != "n2v" and len(halves) != 2:
        raise InputError(
            f"{record.name}: {settings.method} wants both halves of the tomogram, and there "
            + ("is one" if record.even_volume or record.odd_volume else "are none"),
            mend="set reconstruct.halves to frames or tilts and reconstruct again, or set denoise.method to n2v",
        )
    first, second = (whole, whole) if settings.method == "n2v" else halves
    return TrainingSet(
        name=record.name,
        voxel_size_ang=record.voxel_size_ang,
        first=first,
        second=second,
        wedge=Wedge.of(record.tilt_series) if settings.method == "wedge" else Wedge(-90.0, 90.0),
        bright_field=record.tilt_series.imaging != "dark",
    )


def unfinished(path: Path) -> Model | None:
    """What a killed training left, if it can be read; else the training begins anew."""
    try:
        return read_model(path)
    except InputError:
        return None
