"""`lamella train`: one network from several tomograms, for `denoise.model` to apply to any.

It is no step, since it looks at all tomograms at once, and makes no record: ``train/model.pt`` is a file that the
settings of `denoise` name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lamella import __version__
from lamella.errors import InputError
from lamella.formats.star import StarTable, number_text, write_star
from lamella.progress import Progress, no_progress
from lamella.records import Tomogram
from lamella.report.pictures import write_png
from lamella.report.plots import plot_training
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.networks.checkpoint import Model, write_model
from lamella.tomograms.networks.training import train
from lamella.workflow.ledger import Ledger
from lamella.workflow.plan import source_of
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.runner import choose_series
from lamella.workflow.steps.denoise_network import training_set, unfinished
from lamella.workflow.tables import read_record

__all__ = ["TRAIN", "Trained", "train_network"]

TRAIN = "train"
"""Folder of the network that `lamella train` makes, ``train.LABEL`` with a label."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The network, `path` where it lies in the project's folder, for `denoise.model`, and how long it took."""

    model: Model
    path: Path
    source: RecordName
    seconds: float


def train_network(
    project: Project,
    settings: DenoiseSettings,
    *,
    source: RecordName | None = None,
    only: Sequence[str] = (),
    label: str | None = None,
    device: str = "auto",
    progress: Progress = no_progress,
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train a network on the tomograms of a record: ``train/model.pt``, ``train/curve.star`` and ``train/curve.png``.

    A training that was killed goes on where it stopped, where data and settings are the same.

    Parameters
    ----------
    project
        where; it is locked meanwhile.
    settings
        method, size of the network, and how long.
    source
        the record; None: what `denoise` would read.
    only
        names of series; empty: all.
    label
        makes ``train.LABEL`` instead.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        told how far it is.
    say
        told what is trained on.

    Raises
    ------
    InputError
        if the record holds no tomograms, the method trains no network, or what it wants is missing.
    """
    folder = project.root / _folder(label)
    source = source or source_of(project, project.read_settings(), RecordName("denoise"))
    records = read_record(project, source)
    tomograms = [record for record in records if isinstance(record, Tomogram)]
    if not tomograms:
        raise InputError(f"{source} holds no tomograms", mend="name a record of reconstruct with --input")
    chosen = choose_series([record.name for record in tomograms], only)
    with project.lock(), Ledger(project.ledger_path) as ledger:
        run = ledger.start_run(command=f"lamella {folder.name}", version=__version__, executor="local", device=device)
        state = "failed"
        try:
            sets = [training_set(record, settings, project.root) for record in tomograms if record.name in chosen]
            if say is not None:
                say(f"{settings.method} on {', '.join(one.name for one in sets)} of {source}")
            unfinished_path = folder / "training.pt"
            model = train(
                sets,
                settings,
                start=unfinished(unfinished_path),
                keep=lambda model: write_model(unfinished_path, model),
                device=device,
                progress=progress,
            )
            _write(folder, model)
            with suppress(FileNotFoundError):
                unfinished_path.unlink()
            state = "done"
        finally:
            ledger.finish_run(run, state)
    path = (folder / "model.pt").relative_to(project.root)
    return Trained(model=model, path=path, source=source, seconds=model.curve[-1].seconds)


def _folder(label: str | None) -> str:
    """The folder's name; a label is a plain word, as a record's is."""
    if label is None:
        return TRAIN
    return f"{TRAIN}.{RecordName.parse(f'denoise.{label}').label}"


def _write(folder: Path, model: Model) -> None:
    """The network, last, and how it learned."""
    curve = model.curve
    columns = {
        "lamellaEpoch": tuple(str(epoch.number) for epoch in curve),
        "lamellaTrainLoss": tuple(number_text(epoch.loss) for epoch in curve),
        "lamellaHeldOutLoss": tuple(number_text(epoch.held_out) for epoch in curve),
        "lamellaTrainSeconds": tuple(number_text(epoch.seconds) for epoch in curve),
    }
    write_star(folder / "curve.star", [StarTable("training", columns)])
    write_png(folder / "curve.png", plot_training([epoch.loss for epoch in curve], [epoch.held_out for epoch in curve]))
    write_model(folder / "model.pt", model)
