"""Files of networks: what goes in comes out, and what could run code or is no network does not come in."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lamella.errors import FormatError
from lamella.tomograms.networks.checkpoint import Epoch, Model, read_model, write_model
from lamella.tomograms.networks.unet import Architecture, UNet


def model(**changes) -> Model:
    architecture = Architecture(channels=4, depth=2)
    values = {
        "method": "n2n",
        "architecture": architecture,
        "weights": UNet(architecture).state_dict(),
        "voxel_size_ang": 10.0,
        "bright_field": True,
        "trained_on": ("A", "B"),
        "settings": {"epochs": 3, "minutes": "auto", "seed": 1},
        "curve": (Epoch(1, 2.0, 1.5, 3.0), Epoch(2, 1.0, 1.25, 6.0), Epoch(3, 0.9, 1.5, 9.0)),
    }
    return Model(**values | changes)


class Hostile:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_there_and_back(tmp_path):
    one = model()
    write_model(tmp_path / "model.pt", one)
    back = read_model(tmp_path / "model.pt")
    assert replace(back, weights={}) is not back
    for name in (
        "method",
        "architecture",
        "voxel_size_ang",
        "bright_field",
        "trained_on",
        "settings",
        "curve",
        "version",
    ):
        assert getattr(back, name) == getattr(one, name), name
    assert back.best.number == 2
    volume = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(back.network()(volume), one.network()(volume))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_hostile_file_is_refused_unread(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"format": 1, "method": Hostile(mark)}, tmp_path / "torch.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile(mark)))
    (tmp_path / "text.pt").write_text("no network")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("torch.pt", "plain.pt", "text.pt", "empty.pt", "none.pt"):
        with pytest.raises(FormatError, match=name):
            read_model(tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"method": "nad"},
        {"architecture": {"channels": 100000, "depth": 2, "flat": 0}},
        {"architecture": {"channels": 4, "depth": 1, "flat": 0}},
        {"voxel_size_ang": -1.0},
        {"curve": []},
        {"weights": {}},
        {"state": {"task": "x", "steps": 1, "weights": {}, "average": {}, "optimiser": {}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_contradicts_itself_is_refused(tmp_path, change):
    write_model(tmp_path / "good.pt", model())
    values = torch.load(tmp_path / "good.pt", weights_only=True)
    torch.save(values | change, tmp_path / "bad.pt")
    with pytest.raises(FormatError, match=r"bad\.pt is not a model"):
        read_model(tmp_path / "bad.pt")


def test_a_file_of_another_format_says_what_to_do(tmp_path):
    for number in (1, 99):
        torch.save({"format": number, "method": "n2n"}, tmp_path / "old.pt")
        with pytest.raises(FormatError, match=f"its format is {number}, and 2 is read here; train it again"):
            read_model(tmp_path / "old.pt")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    weights = {name: value.clone() for name, value in model().weights.items()}
    weights["last.bias"][0] = float("nan")
    write_model(tmp_path / "bad.pt", model(weights=weights))
    with pytest.raises(FormatError, match="not finite"):
        read_model(tmp_path / "bad.pt")
