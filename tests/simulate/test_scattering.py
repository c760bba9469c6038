"""Potentials of molecules against sums written out here, and against what is measured of ice and protein."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from lamella.errors import InputError
from lamella.formats.atoms import Atoms
from lamella.simulate.scattering import (
    ICE_POTENTIAL,
    POTENTIAL_PER_SCATTERING_LENGTH,
    atoms_cloud,
    displaced_volumes_ang3,
    form_factor,
    scattering_lengths_ang,
)
from lamella.simulate.templates import cloud_template


def molecule(rng: np.random.Generator, n: int = 60, spread: float = 8.0) -> Atoms:
    return Atoms(
        elements=rng.choice(["C", "N", "O", "S", "P"], n),
        places_ang=rng.normal(scale=spread, size=(n, 3)),
        b_factor_ang2=rng.uniform(5, 60, n),
        occupancy=np.ones(n),
        hydrogens=rng.integers(0, 3, n).astype(float),
        residue=np.arange(n),
        residue_names=np.full(n, "UNK"),
        atom_names=np.full(n, "X"),
    )


def test_the_constant_is_h2_over_2_pi_m_e() -> None:
    h, m, e = 6.62607015e-34, 9.1093837015e-31, 1.602176634e-19
    assert h**2 / (2 * np.pi * m * e) * 1e20 == pytest.approx(POTENTIAL_PER_SCATTERING_LENGTH, rel=1e-6)


def test_form_factors_are_the_published_ones() -> None:
    # Peng, Ren, Dudarev & Whelan 1996, f(0) in Å
    for element, length in {"H": 0.5288, "C": 2.5088, "N": 2.2135, "O": 1.9834, "P": 5.4876, "S": 5.1604}.items():
        assert form_factor(element)[0].sum() == pytest.approx(length, abs=2e-4)
    with pytest.raises(InputError, match="Xx"):
        form_factor("Xx")


def test_total_potential_is_the_sum_of_form_factors_at_zero_less_the_ice(rng) -> None:
    atoms = molecule(rng)
    table = {"C": (2.5088, 16.44), "N": (2.2135, 2.49), "O": (1.9834, 9.13), "S": (5.1604, 19.86), "P": (5.4876, 5.73)}
    length = sum(table[e][0] for e in atoms.elements) + 0.5288 * atoms.hydrogens.sum()
    volume = sum(table[e][1] for e in atoms.elements) + 5.15 * atoms.hydrogens.sum()
    expected = 47.8776 * length - 4.5263 * volume
    for coarse in (False, True):
        cloud = atoms_cloud(atoms, b_factor_ang2=30, coarse=coarse)
        assert cloud.weights.sum() == pytest.approx(expected, rel=1e-4)
        assert cloud_template("m", cloud, 4.0).total_potential() == pytest.approx(expected, rel=1e-4)
    assert scattering_lengths_ang(atoms).sum() == pytest.approx(length, rel=1e-4)
    assert displaced_volumes_ang3(atoms).sum() == pytest.approx(volume, rel=1e-6)


@pytest.mark.parametrize("voxel", [1.0, 2.5, 6.0])
def test_every_term_of_a_templates_transform_is_the_structure_factor(rng, voxel: float) -> None:
    """Σ f(k) exp(−B k²/4) exp(−2πi k·r) written out, below the roll-off; no alias and no error of the grid."""
    atoms = molecule(rng)
    template = cloud_template("m", atoms_cloud(atoms, b_factor_ang2=10.0), voxel)
    size = len(template.volume)
    terms = np.fft.fftn(np.fft.ifftshift(template.volume.astype(float))) * voxel**3
    for index in ([0, 0, 0], [1, 0, 0], [0, 2, 1], [size // 6, -3, 2], [-size // 5, size // 5, size // 6]):
        k = np.array(index) / (size * voxel)  # x, y, z
        square = float(k @ k)
        expected = 0j
        for element, place, b, bound in zip(
            atoms.elements, atoms.places_ang, atoms.b_factor_ang2, atoms.hydrogens, strict=True
        ):
            known = gemmi.Element(str(element)).c4322
            f = sum(a * np.exp(-w * square / 4) for a, w in zip(known.a, known.b, strict=True))
            light = gemmi.Element("H").c4322
            mean = sum(np.multiply(light.a, light.b)) / sum(light.a)
            f_h = bound * sum(light.a) * np.exp(-(mean / 4 + 2 * np.pi**2 / 3) * square)
            volume = {"C": 16.44, "N": 2.49, "O": 9.13, "S": 19.86, "P": 5.73}[str(element)] + 5.15 * bound
            ice = ICE_POTENTIAL * volume * np.exp(-np.pi * square * volume ** (2 / 3))
            potential = 47.877645 * (f + f_h) - ice
            expected += potential * np.exp(-(b + 10) * square / 4) * np.exp(-2j * np.pi * k @ place)
        found = terms[index[2], index[1], index[0]]
        assert abs(found - expected) < 2e-4 * abs(terms).max()


def test_ice_and_protein_have_plausible_mean_inner_potentials(shared_data) -> None:
    from lamella.formats.atoms import read_atoms

    assert pytest.approx(4.53, abs=0.02) == ICE_POTENTIAL  # Vulović et al. 2013
    atoms = read_atoms(shared_data / "models" / "eman2_1MNF_GroEL.pdb.gz")
    volume = displaced_volumes_ang3(atoms).sum()
    above = POTENTIAL_PER_SCATTERING_LENGTH * scattering_lengths_ang(atoms).sum() / volume - ICE_POTENTIAL
    assert 2.0 < above < 4.0
    heavy = sum(gemmi.Element(str(e)).weight for e in atoms.elements) + 1.008 * atoms.hydrogens.sum()
    assert volume / heavy == pytest.approx(1.22, abs=0.06)  # Å³/Da, of a partial specific volume of 0.73 cm³/g
