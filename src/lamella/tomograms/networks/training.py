"""Training: rounds over patches until the time is up or what is held out is predicted no better."""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import InputError, PostconditionError
from lamella.progress import Progress, no_progress
from lamella.runtime import choose_device, free_memory_bytes, prepare
from lamella.tomograms.denoise_settings import TRAINING_SETTINGS, DenoiseSettings
from lamella.tomograms.networks.checkpoint import Epoch, Model, NetworkMethod, TrainingState
from lamella.tomograms.networks.noise2noise import n2n_loss
from lamella.tomograms.networks.noise2void import blind_reach, n2v_loss, noise_correlation
from lamella.tomograms.networks.patches import Cut, Ground, TrainingSet, lay_out, plan_patches
from lamella.tomograms.networks.unet import Architecture, UNet
from lamella.tomograms.networks.wedge import wedge_loss
from lamella.tomograms.survey import Samples

__all__ = ["train"]

_FEWEST, _MOST = 25, 250  # steps of an epoch
_WARM_UP = 0.03  # of the training, in which steps grow to their full length
_AVERAGED = 7.0  # the mean of the weights reaches back over about a tenth of the steps so far
_PATIENCE = 0.25  # of the epochs, 5 at least, without a better prediction of what is held out
_COARSEST = 4  # voxels along z that the coarsest level has at least
_TRAINING_BYTES = (2000.0, 20.0)  # per voxel of a patch, and per voxel and feature of the finest level; measured
_GIB = 2**30


@dataclass(frozen=True, eq=False)
class _Task:
    """What is learned: from which patches, by which loss."""

    method: NetworkMethod
    grounds: tuple[Ground, ...]
    cut: Cut
    architecture: Architecture
    settings: DenoiseSettings
    device: str
    reach: tuple[int, int, int]

    @property
    def steps(self) -> int:
        """Steps of an epoch: as many as show about as many voxels as the tomograms have."""
        voxels = sum(math.prod(ground.source.first.shape) for ground in self.grounds)
        return int(np.clip(math.ceil(voxels / (math.prod(self.cut.size) * self.settings.batch)), _FEWEST, _MOST))

    @property
    def identity(self) -> str:
        """Digest of all that the course of the training depends on."""
        seen = [(g.source.name, g.source.first.shape, f"{g.mean:.6g}", f"{g.noise:.6g}") for g in self.grounds]
        settings = [(name, getattr(self.settings, name)) for name in TRAINING_SETTINGS]
        return hashlib.sha256(repr((settings, self.architecture, self.cut, seen)).encode()).hexdigest()

    def loss(
        self, network: Callable[[Tensor], Tensor], ground: Ground, pair: tuple[Tensor, Tensor], seed: int
    ) -> Tensor:
        """Loss of a batch; `seed` settles what is random in it."""
        first, second = pair
        if self.method == "n2n":
            return n2n_loss(network, first, second)
        if self.method == "n2v":
            return n2v_loss(network, first, self.reach, torch.Generator(self.device).manual_seed(seed))
        random, align = np.random.default_rng(seed), self.cut.align
        return wedge_loss(network, first, second, ground.source.wedge, random, align)


def train(
    sets: Sequence[TrainingSet],
    settings: DenoiseSettings,
    *,
    start: Model | None = None,
    keep: Callable[[Model], None] | None = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Model:
    """Train a network on one or several tomograms.

    Parameters
    ----------
    sets
        the tomograms, halves (n2n, wedge) or wholes (n2v).
    settings
        method, size of the network, and how long: `TRAINING_SETTINGS`.
    start
        what an interrupted training left; it goes on, to the same end, where it was one of the same data and settings,
        and is passed over where not.
    keep
        told of the model after every epoch, with what it takes to go on.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        told after every step.

    Raises
    ------
    InputError
        if there is nothing to train on, a method that trains none, halves of n2n or wedge that are one volume, or
        tomograms of different voxel size or contrast.
    ImageError
        if a tomogram is too small, constant or not finite.
    PostconditionError
        if the training diverges.

    Notes
    -----
    Adam (Kingma & Ba 2015) with a step length that falls as a cosine. What is judged and kept is a running mean of the
    weights whose reach grows with the steps (Karras et al. 2024, power function), so that the last steps' chances do
    not stay as noise. A corner of every tomogram is held out; training ends when the prediction there has not improved
    for a quarter of the epochs, and the best weights are kept. Numbers are float32 on a CPU, where bfloat16 was
    measured to be slower, and bfloat16 products on CUDA.
    """
    prepare(torch=True)
    device = choose_device(device)
    _check(sets, settings)
    task = _plan(sets, settings, device)
    course = _Course(task)
    if start is not None and start.state is not None and start.state.task == task.identity:
        course.go_on(start, start.state)
    while not course.over:
        course.epoch(progress)
        if keep is not None:
            keep(course.model)
    progress(1.0, "")
    return replace(course.model, state=None)


def _check(sets: Sequence[TrainingSet], settings: DenoiseSettings) -> None:
    if settings.method not in ("n2n", "n2v", "wedge"):
        raise InputError(f"{settings.method} trains no network", mend="set denoise.method to n2n, n2v or wedge")
    if not sets:
        raise InputError("there is no tomogram to train on", mend="run reconstruct first")
    one = sets[0]
    for other in sets:
        if settings.method != "n2v" and other.first is other.second:
            raise InputError(
                f"{other.name}: {settings.method} wants both halves",
                mend="set reconstruct.halves to frames or tilts, or denoise.method to n2v",
            )
        if abs(other.voxel_size_ang / one.voxel_size_ang - 1) > 0.01:
            raise InputError(
                f"voxels of {one.name} have {one.voxel_size_ang:g} Å and those of {other.name} "
                f"{other.voxel_size_ang:g} Å",
                mend="reconstruct all with one reconstruct.pixel_size, or choose some with --only",
            )
        if other.bright_field != one.bright_field:
            raise InputError(
                f"mass is dark in one of {one.name} and {other.name} and bright in the other",
                mend="train a network for each contrast: choose series with --only",
            )


def _plan(sets: Sequence[TrainingSet], settings: DenoiseSettings, device: str) -> _Task:
    method = cast(NetworkMethod, settings.method)
    thick = min(settings.patch, *(one.first.shape[0] for one in sets))
    flat = 0
    while method != "wedge" and flat < settings.depth - 1 and thick < _COARSEST * 2 ** (settings.depth - 1 - flat):
        flat += 1
    architecture = Architecture(channels=settings.channels, depth=settings.depth, flat=flat)
    shapes = [one.first.shape for one in sets]
    cut = plan_patches(shapes, settings.patch, max(architecture.align), cubes=method == "wedge")
    if flat:
        thick -= thick % architecture.align[0]
        cut = replace(cut, size=(thick, *cut.size[1:]))
    grounds = tuple(lay_out(one, cut, settings.seed) for one in sets)
    reach = (0, 0, 0)
    if method == "n2v":
        correlation = np.max([noise_correlation(Samples.of(one.first).blocks) for one in sets], axis=0)
        reach = blind_reach(correlation)
    return _Task(method, grounds, cut, architecture, settings, device, reach)


class _Course:
    """A training under way."""

    def __init__(self, task: _Task) -> None:
        self.task = task
        torch.manual_seed(task.settings.seed)
        network = UNet(task.architecture).to(device=task.device)
        self.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=task.settings.learning_rate)
        self.steps = 0
        self.curve: tuple[Epoch, ...] = ()
        self.best: dict[str, Tensor] = {}
        self.parts = self._parts()

    def go_on(self, start: Model, state: TrainingState) -> None:
        """Take over what an interrupted training left."""
        self.network.load_state_dict(dict(state.weights))
        self.average.load_state_dict(dict(state.average))
        self.steps = state.steps
        groups = self.optimiser.state_dict()["param_groups"]
        memory: dict[int, dict[str, Tensor]] = {}
        for name, value in state.optimiser.items():
            number, _, what = name.partition(".")
            memory.setdefault(int(number), {})[what] = value
        self.optimiser.load_state_dict({"state": memory, "param_groups": groups})
        self.curve, self.best = start.curve, dict(start.weights)

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return self.curve[-1].seconds if self.curve else 0.0

    @property
    def over(self) -> bool:
        """Whether time is up, or waiting longer promises nothing."""
        settings = self.task.settings
        if not self.curve:
            return False
        stale = self.curve[-1].number - min(self.curve, key=lambda epoch: epoch.held_out).number
        late = settings.minutes != "auto" and self.seconds >= 60 * settings.minutes
        return late or len(self.curve) >= settings.epochs or stale >= max(5, round(_PATIENCE * settings.epochs))

    @property
    def model(self) -> Model:
        """The best so far, with what it takes to go on."""
        task, first = self.task, self.task.grounds[0].source
        memory = self.optimiser.state_dict()["state"]
        return Model(
            method=task.method,
            architecture=task.architecture,
            weights=self.best,
            voxel_size_ang=first.voxel_size_ang,
            bright_field=first.bright_field,
            trained_on=tuple(ground.source.name for ground in task.grounds),
            settings={name: getattr(task.settings, name) for name in TRAINING_SETTINGS},
            curve=self.curve,
            state=TrainingState(
                task=task.identity,
                steps=self.steps,
                weights=_copied(self.network.state_dict()),
                average=_copied(self.average.state_dict()),
                optimiser=_copied({f"{n}.{what}": value for n, part in memory.items() for what, value in part.items()}),
            ),
        )

    def epoch(self, progress: Progress) -> None:
        """One round, and its judgement."""
        task, begun, before = self.task, time.perf_counter(), self.seconds
        number = len(self.curve) + 1
        random = np.random.default_rng([task.settings.seed, number])
        losses: list[float] = []
        for step in range(task.steps):
            seconds = before + time.perf_counter() - begun
            done = self._fraction(number - 1 + step / task.steps, seconds)
            if losses and done >= 1:
                break
            known = f", held out {self.curve[-1].held_out:.4f}" if self.curve else ""
            progress(min(done, 0.999), f"training, epoch {number}{known}")
            losses.append(self._step(random, done))
        held_out = self._judge()
        if not np.isfinite([*losses, held_out]).all():
            raise PostconditionError(
                f"the training diverged in epoch {number}", mend="lower denoise.learning_rate, or raise denoise.batch"
            )
        if not self.curve or held_out < min(epoch.held_out for epoch in self.curve):
            self.best = _copied(self.average.state_dict())
        seconds = before + time.perf_counter() - begun
        self.curve = (*self.curve, Epoch(number, float(np.mean(losses)), held_out, seconds))

    def _fraction(self, epochs: float, seconds: float) -> float:
        settings = self.task.settings
        by_time = 0.0 if settings.minutes == "auto" else seconds / (60 * settings.minutes)
        return max(epochs / settings.epochs, by_time)

    def _step(self, random: np.random.Generator, done: float) -> float:
        """One step of the optimiser; the batch in as many parts as memory asks for."""
        task = self.task
        rate = task.settings.learning_rate * min(1.0, (done + 1e-3) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        ground = task.grounds[random.integers(len(task.grounds))]
        pairs = [ground.draw(random, task.cut.size) for _ in range(task.settings.batch)]
        seed = int(random.integers(2**31))
        while True:
            try:
                return self._descend(ground, pairs, seed)
            except torch.OutOfMemoryError:
                if self.parts >= len(pairs):
                    raise
            self.parts = min(2 * self.parts, len(pairs))
            torch.cuda.empty_cache()

    def _descend(self, ground: Ground, pairs: list[tuple[NDArray[Any], NDArray[Any]]], seed: int) -> float:
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for number, part in enumerate(np.array_split(np.arange(len(pairs)), self.parts)):
            loss = self._loss(self.network, ground, [pairs[index] for index in part], seed + number) * (
                len(part) / len(pairs)
            )
            torch.autograd.backward(loss)
            total += float(loss.detach())
        self.optimiser.step()
        self._average()
        return float(np.float32(total))

    def _average(self) -> None:
        """Take the last step into the mean of the weights."""
        self.steps += 1
        share = 1 - (1 - 1 / self.steps) ** _AVERAGED
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, share)

    def _loss(self, network: UNet, ground: Ground, pairs: list[tuple[NDArray[Any], NDArray[Any]]], seed: int) -> Tensor:
        device = self.task.device
        first, second = (
            torch.from_numpy(np.stack([pair[half] for pair in pairs])[:, None]).to(device) for half in (0, 1)
        )

        def restored(volumes: Tensor) -> Tensor:
            with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
                return cast(Tensor, network(volumes)).float()

        return self.task.loss(restored, ground, (first, second), seed)

    def _judge(self) -> float:
        """Mean loss on all that is held out, both halves predicting each other; the same chances every time."""
        losses, counts = [], []
        with torch.inference_mode():
            for seed, (ground, corners) in enumerate(self._held()):
                pairs = [ground.read(corner, ground.held_size) for corner in corners]
                for each in (pairs, [(second, first) for first, second in pairs]):
                    losses.append(float(self._loss(self.average, ground, each, seed)))
                    counts.append(len(each))
        return float(np.float32(np.average(losses, weights=counts)))

    def _held(self) -> Iterator[tuple[Ground, NDArray[np.int64]]]:
        size = max(1, self.task.settings.batch // self.parts)
        for ground in self.task.grounds:
            for begin in range(0, len(ground.held), size):
                yield ground, ground.held[begin : begin + size]

    def _parts(self) -> int:
        """Into how many parts a batch is cut so that a step fits the memory."""
        settings, task = self.task.settings, self.task
        free = free_memory_bytes(task.device) / 2
        budget = free if settings.memory == "auto" else min(free, settings.memory * _GIB)
        each = math.prod(task.cut.size) * (_TRAINING_BYTES[0] + _TRAINING_BYTES[1] * settings.channels)
        return int(np.clip(math.ceil(settings.batch * each / max(budget, 1)), 1, settings.batch))


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
