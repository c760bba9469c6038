"""`lamella train`: one network from several tomograms of a project."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.tomograms.networks.scenes import halves, settings

from lamella.cli.commands import dispatch
from lamella.errors import InputError, ProjectError
from lamella.formats.mrc import write_mrc
from lamella.formats.relion_tomograms import write_tomograms
from lamella.formats.star import read_star
from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries, Tomogram
from lamella.tomograms.networks.checkpoint import read_model
from lamella.workflow.project import Project
from lamella.workflow.training import train_network

TINY_OPTIONS = {
    "channels": 4,
    "depth": 2,
    "patch": 32,
    "batch": 2,
    "epochs": 1,
    "learning-rate": 0.003,
    "device": "cpu",
}


@pytest.fixture
def project(tmp_path) -> Project:
    """Two tomograms with halves, and no raw data: training looks at nothing else."""
    root = tmp_path / "p"
    (root / "reconstruct").mkdir(parents=True)
    (root / "lamella.toml").write_text("")
    (root / "raw.star").write_text("")
    records = []
    for seed, name in enumerate("AB", start=1):
        _truth, even, odd = halves(seed=seed)
        for ending, volume in (("", even + odd), ("_even", even), ("_odd", odd)):
            write_mrc(root / "reconstruct" / f"{name}{ending}.mrc", volume, 10.0)
        tilts = np.linspace(-60, 60, 5)
        series = TiltSeries(
            name=name,
            pixel_size_ang=5.0,
            image_shape_px=(144, 144),
            nominal_tilt_deg=tilts,
            nominal_axis_deg=np.zeros(5),
            images=tuple(f"{n + 1:06d}@{name}.mrc" for n in range(5)),
            geometry=TiltGeometry.from_angles(tilts),
        )
        records.append(
            Tomogram(
                tilt_series=series,
                size_px=(144, 144, 64),
                binning=2.0,
                volume=f"reconstruct/{name}.mrc",
                even_volume=f"reconstruct/{name}_even.mrc",
                odd_volume=f"reconstruct/{name}_odd.mrc",
            )
        )
    write_tomograms(root / "reconstruct" / "tomograms.star", records, root)
    return Project.open(root)


def test_the_command_trains_on_all_and_leaves_model_curve_and_picture(project, capsys):
    words = [word for name, value in TINY_OPTIONS.items() for word in (f"--{name}", str(value))]
    assert dispatch(["train", str(project.root), "--json", *words]) == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["model"] == "train/model.pt"
    assert told["trained_on"] == ["A", "B"]
    assert sorted(path.name for path in (project.root / "train").iterdir()) == ["curve.png", "curve.star", "model.pt"]
    model = read_model(project.root / "train" / "model.pt")
    assert model.method == "n2n"
    assert model.voxel_size_ang == pytest.approx(10.0)
    (table,) = read_star(project.root / "train" / "curve.star").values()
    assert table.columns["lamellaEpoch"] == ("1",)
    assert float(table.columns["lamellaHeldOutLoss"][0]) == pytest.approx(model.curve[0].held_out, rel=1e-4)


def test_a_label_and_a_choice(project):
    done = train_network(project, settings("n2v", epochs=1), only=["B"], label="own", device="cpu")
    assert done.path.as_posix() == "train.own/model.pt"
    assert done.model.trained_on == ("B",)
    with pytest.raises(ProjectError, match="not the name of a record"):
        train_network(project, settings(epochs=1), label="../out")


def test_it_goes_on_after_a_kill(project):
    def killed(fraction, text=""):
        if text.startswith("training, epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(project, settings(epochs=2), device="cpu", progress=killed)
    first = read_model(project.root / "train" / "training.pt").curve
    assert len(first) == 1
    done = train_network(project, settings(epochs=2), device="cpu")
    assert done.model.curve[:1] == first
    assert len(done.model.curve) == 2
    assert not (project.root / "train" / "training.pt").exists()


def test_what_is_missing_is_told(project):
    with pytest.raises(InputError, match="iterations"):
        dispatch(["train", str(project.root), "--iterations", "3"])
    (project.root / "reconstruct" / "tomograms.star").unlink()
    with pytest.raises(ProjectError, match="there is no record reconstruct"):
        train_network(project, settings(epochs=1))
