"""A trained network in a file: tensors and plain values only, which are checked before anything is made of them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lamella import __version__
from lamella.errors import FormatError
from lamella.formats.atomic import atomic_path
from lamella.tomograms.networks.unet import Architecture, UNet

__all__ = ["Epoch", "Model", "NetworkMethod", "TrainingState", "read_model", "write_model"]

NetworkMethod = Literal["n2n", "n2v", "wedge"]

_FORMAT = 2
_LARGEST = 2**31  # bytes of a file that is read
_BOUNDS = {"channels": (1, 512), "depth": (1, 8), "flat": (0, 8)}  # of what a file may ask for


@dataclass(frozen=True)
class Epoch:
    """One round of training: its number from 1, mean loss, loss on what is held out, and seconds since the start."""

    number: int
    loss: float
    held_out: float
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingState:
    """What it takes to go on training: of what task, after how many steps, and the optimiser's memory.

    `weights` are those that the last step left, `average` their running mean, of which the best is the model's.
    """

    task: str
    steps: int
    weights: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A trained network and what is known of it.

    Attributes
    ----------
    method
        what it was trained for.
    architecture, weights
        the network; weights are those that did best on what was held out.
    voxel_size_ang
        of the tomograms that it was trained on, Å.
    bright_field
        whether mass was dark in them.
    trained_on
        their names.
    settings
        of the training, as `denoise` names them.
    curve
        a row per epoch.
    state
        to go on from; None where training has ended.
    version
        of lamella that trained it.
    """

    method: NetworkMethod
    architecture: Architecture
    weights: Mapping[str, Tensor]
    voxel_size_ang: float
    bright_field: bool
    trained_on: tuple[str, ...]
    settings: Mapping[str, Any]
    curve: tuple[Epoch, ...]
    state: TrainingState | None = None
    version: str = field(default=__version__)

    @property
    def best(self) -> Epoch:
        """The epoch whose weights these are."""
        return min(self.curve, key=lambda epoch: epoch.held_out)

    def network(self, device: str = "cpu") -> UNet:
        """The network itself, ready to be applied."""
        network = UNet(self.architecture)
        network.load_state_dict(dict(self.weights))
        return network.to(device=device, memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload,no-any-return]


def write_model(path: Path | str, model: Model) -> None:
    """Write a model, whole or not at all."""
    values: dict[str, Any] = {entry.name: getattr(model, entry.name) for entry in fields(model)}
    values["architecture"] = {entry.name: getattr(model.architecture, entry.name) for entry in fields(Architecture)}
    values["curve"] = [[float(getattr(epoch, entry.name)) for entry in fields(Epoch)] for epoch in model.curve]
    values["trained_on"], values["settings"] = list(model.trained_on), dict(model.settings)
    values["weights"] = dict(model.weights)
    if model.state is not None:
        state = model.state
        values["state"] = {
            "task": state.task,
            "steps": state.steps,
            "weights": dict(state.weights),
            "average": dict(state.average),
            "optimiser": dict(state.optimiser),
        }
    with atomic_path(path) as temporary:
        torch.save({"format": _FORMAT, **values}, temporary)


def read_model(path: Path | str) -> Model:
    """Read a model that `write_model` wrote.

    Raises
    ------
    FormatError
        if the file is missing, is none, holds anything but tensors and plain values (such files could run code), or
        its weights are not those of its network, or not finite.
    """
    path = Path(path)
    mend = "name a model.pt that `lamella train` or `lamella denoise` wrote"
    try:
        if path.stat().st_size > _LARGEST:
            raise FormatError(f"{path}: {path.stat().st_size / 2**30:.1f} GiB are no network of ours", mend=mend)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or error}", mend=mend) from error
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{path} holds no tensors and plain values alone", mend=mend) from error
    try:
        return _model(found)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        words = str(error).strip().splitlines()
        raise FormatError(f"{path} is not a model: {words[0] if words else type(error).__name__}", mend=mend) from error


def _model(found: Any) -> Model:
    if not isinstance(found, dict) or "format" not in found:
        raise ValueError("it does not say so")
    if found["format"] != _FORMAT:
        raise ValueError(f"its format is {found['format']!r}, and {_FORMAT} is read here; train it again")
    if found["method"] not in get_args(NetworkMethod):
        raise ValueError(f"no method {found['method']!r} is known")
    architecture = Architecture(**{name: _whole(found["architecture"][name], name) for name in _BOUNDS})
    state = found["state"]
    model = Model(
        method=found["method"],
        architecture=architecture,
        weights=_weights(found["weights"], architecture),
        voxel_size_ang=_positive(found["voxel_size_ang"]),
        bright_field=bool(found["bright_field"]),
        trained_on=tuple(str(name) for name in found["trained_on"]),
        settings={str(name): value for name, value in found["settings"].items()},
        curve=tuple(Epoch(int(row[0]), float(row[1]), float(row[2]), float(row[3])) for row in found["curve"]),
        state=None
        if state is None
        else TrainingState(
            task=str(state["task"]),
            steps=int(state["steps"]),
            weights=_weights(state["weights"], architecture),
            average=_weights(state["average"], architecture),
            optimiser={str(name): _tensor(value) for name, value in state["optimiser"].items()},
        ),
        version=str(found["version"]),
    )
    if not model.curve:
        raise ValueError("it was never trained")
    return model


def _whole(value: Any, name: str) -> int:
    low, high = _BOUNDS[name]
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, not {low} to {high}")
    return value


def _positive(value: Any) -> float:
    if not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise ValueError(f"a voxel size of {value!r}")
    return float(value)


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or not bool(torch.isfinite(value).all()):
        raise ValueError("a tensor is missing, or not finite")
    return value


def _weights(found: Any, architecture: Architecture) -> dict[str, Tensor]:
    with torch.device("meta"):
        expected = {name: value.shape for name, value in UNet(architecture).state_dict().items()}
    weights = {str(name): _tensor(value) for name, value in found.items()}
    if {name: value.shape for name, value in weights.items()} != expected:
        raise ValueError("its weights are not those of its network")
    return weights
