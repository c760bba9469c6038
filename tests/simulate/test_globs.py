"""The packaged models: small, named, and as good as all atoms where they are used."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from lamella.errors import SettingsError
from lamella.formats.atoms import read_atoms
from lamella.simulate.globs import STEP_ANG, globs_cloud, globs_of
from lamella.simulate.packaged import models, read_packaged
from lamella.simulate.scattering import atoms_cloud
from lamella.simulate.templates import cloud_template

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_models.py"


def test_every_model_names_its_entries_and_is_small() -> None:
    assert {"ribosome", "groel", "channel", "ternary_complex"} <= set(models())
    for name, facts in models().items():
        assert facts.entries, name
        assert facts.licence.startswith("CC0")
        assert all(len(entry) == 4 and entry[0].isdigit() for entry in facts.entries)
        assert files("lamella.simulate").joinpath("models", f"{name}.npz").stat().st_size <= 300 * 1024
    assert models()["ribosome"].mass_kda == pytest.approx(2300, rel=0.1)
    assert models()["groel"].mass_kda == pytest.approx(800, rel=0.03)


def test_poses_turn_about_the_centre_of_mass() -> None:
    for name in ("ribosome", "groel", "ternary_complex"):
        cloud = globs_cloud(read_packaged(name))
        assert np.linalg.norm(np.average(cloud.places_ang, axis=0, weights=cloud.weights)) < 2.0


def test_groel_has_its_symmetry_about_the_axes() -> None:
    volume = cloud_template("groel", globs_cloud(read_packaged("groel"), b_factor_ang2=300), 5.0)
    cloud = globs_cloud(read_packaged("groel"), b_factor_ang2=300)
    c, s = np.cos(2 * np.pi / 7), np.sin(2 * np.pi / 7)
    for turn, least in ((np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), 0.98), (np.diag([1, -1, -1]), 0.98)):
        moved = cloud_template("turned", cloud.moved(turn, np.zeros(3)), 5.0)
        assert np.corrcoef(volume.volume.ravel(), moved.volume.ravel())[0, 1] > least
    third = cloud.moved([[-0.5, -(0.75**0.5), 0], [0.75**0.5, -0.5, 0], [0, 0, 1]], np.zeros(3))
    assert np.corrcoef(volume.volume.ravel(), cloud_template("3", third, 5.0).volume.ravel())[0, 1] < 0.9


def test_the_channel_lies_across_the_membrane() -> None:
    """Hydrophobic side chains in the membrane's core, most of the mass outside at z > 0."""
    globs = read_packaged("channel")
    z = globs.steps[:, 2] * STEP_ANG
    assert z.mean() > 5
    assert (np.abs(z) < 15).mean() > 0.15
    assert z.min() < -25


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"no packaged model 'ribozome'; choose from .*ribosome"):
        read_packaged("ribozome")


def test_globs_agree_with_all_atoms(shared_data) -> None:
    """Fourier shell correlation with the all-atom map: 0.99 at 15 Å, 0.9 at 8 Å; amplitudes within 15 %."""
    atoms = read_atoms(shared_data / "models" / "eman2_1MNF_GroEL.pdb.gz")
    atoms = replace(
        atoms, places_ang=atoms.places_ang - atoms.places_ang.mean(axis=0), b_factor_ang2=0 * atoms.occupancy
    )
    full = cloud_template("atoms", atoms_cloud(atoms, b_factor_ang2=20), 3.0)
    few = cloud_template("globs", globs_cloud(globs_of(atoms), b_factor_ang2=20), 3.0)
    assert few.total_potential() == pytest.approx(full.total_potential(), rel=1e-4)
    size = min(len(full.volume), len(few.volume))
    a, b = (np.fft.fftn(_middle(t.volume, size)) for t in (full, few))
    k = np.fft.fftfreq(size) / 3.0
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    for resolution, least in ((30.0, 0.998), (15.0, 0.99), (10.0, 0.97), (8.0, 0.9)):
        shell = np.abs(radius - 1 / resolution) < 0.005
        power = np.sqrt((np.abs(a[shell]) ** 2).sum() * (np.abs(b[shell]) ** 2).sum())
        assert (a[shell] * b[shell].conj()).real.sum() / power > least
        assert np.sqrt((np.abs(a[shell]) ** 2).sum() / (np.abs(b[shell]) ** 2).sum()) == pytest.approx(1, abs=0.17)


@pytest.mark.slow
def test_the_packaged_files_are_what_the_script_makes(shared_data, tmp_path) -> None:
    sources = shared_data / "models"
    told = {"ribosome": "eman2_tteftu_with_tRNA", "groel": "eman2_1MNF_GroEL", "channel": "polnet_5gjv"}
    words = [word for name, file in told.items() for word in (f"--{name}", str(sources / f"{file}.pdb.gz"))]
    subprocess.run([sys.executable, str(SCRIPT), *words, "--folder", str(tmp_path)], check=True, capture_output=True)
    for name in models():
        with np.load(tmp_path / f"{name}.npz") as made:
            stored = read_packaged(name)
            steps = np.cumsum(made["steps"], axis=0, dtype=np.int64)
            assert np.abs(steps - stored.steps).max() <= 2
            np.testing.assert_array_equal(made["kind"], stored.kind)
            np.testing.assert_allclose(made["table"], stored.table, rtol=1e-4)


def _middle(volume, size: int):
    start = (len(volume) - size) // 2
    return volume[start : start + size, start : start + size, start : start + size]
