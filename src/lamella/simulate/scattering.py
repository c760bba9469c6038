"""How strongly atoms scatter electrons, above the ice that they take the place of.

An atom's potential is a sum of five Gaussians, and the ice that it displaces is one; a molecule is the cloud of all.

References
----------
L.-M. Peng, G. Ren, S. L. Dudarev & M. J. Whelan, Acta Cryst. A52 (1996) 257: the five-Gaussian factors, as in
International Tables C, table 4.3.2.2 (here from gemmi).
R. D. B. Fraser, T. P. MacRae & E. Suzuki, J. Appl. Cryst. 11 (1978) 693; D. Svergun, C. Barberato & M. H. J. Koch,
J. Appl. Cryst. 28 (1995) 768: displaced solvent as a Gaussian of the atomic group's volume.
M. Vulović et al., J. Struct. Biol. 183 (2013) 19: both together for images of proteins in ice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import MappingProxyType

import gemmi
import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.formats.atoms import Atoms
from lamella.simulate.gaussians import Gaussians

__all__ = [
    "ICE_POTENTIAL",
    "POTENTIAL_PER_SCATTERING_LENGTH",
    "atom_variances_ang2",
    "atoms_cloud",
    "displaced_variances_ang2",
    "displaced_volumes_ang3",
    "form_factor",
    "scattering_lengths_ang",
]

Array = NDArray[np.float64]

POTENTIAL_PER_SCATTERING_LENGTH = 47.877645
"""h² / (2π m e), V·Å²: volume integral of the potential per scattering length f(0) in Å."""

WATER_PER_ANG3 = 0.93 / 18.01528 * 0.602214
"""Molecules in vitreous ice of 0.93 g/cm³."""

DISPLACED_ANG3 = MappingProxyType(
    {"H": 5.15, "C": 16.44, "N": 2.49, "O": 9.13, "P": 5.73, "S": 19.86, "Se": 28.73, "Na": 6.54, "K": 11.01}
    | {"Mg": 17.16, "Ca": 31.89, "Mn": 9.2, "Fe": 7.99, "Cu": 8.78, "Zn": 9.85, "Cl": 22.45, "F": 13.31}
)
"""Volume of the solvent that an atom takes the place of, Å³."""
OTHER_DISPLACED_ANG3 = 14.0

BOND_ANG = 1.0
"""From a heavy atom to its hydrogens."""
COARSE_VOXEL_ANG = 4.0
"""From this voxel size on, an atom's Gaussians are merged to one of the same mass and width: 0.2 % at Nyquist."""


@lru_cache(maxsize=128)
def form_factor(element: str) -> tuple[Array, Array]:
    """Coefficients a (Å) and b (Å²) of f(k) = Σ a exp(−b k² / 4), k in cycles/Å.

    Raises
    ------
    InputError
        for an element that the table lacks.
    """
    known = gemmi.Element(element)
    coefficients = known.c4322
    if coefficients is None or known.atomic_number == 0 or not sum(coefficients.a):
        raise InputError(f"no electron form factor for element {element!r}", mend="correct or remove it in the model")
    return np.array(coefficients.a), np.array(coefficients.b)


@lru_cache(maxsize=1)
def _water_scattering_length() -> float:
    return float(2 * form_factor("H")[0].sum() + form_factor("O")[0].sum())


ICE_POTENTIAL = WATER_PER_ANG3 * POTENTIAL_PER_SCATTERING_LENGTH * _water_scattering_length()
"""Mean inner potential of vitreous ice as isolated atoms, V: 4.53."""


def scattering_lengths_ang(atoms: Atoms) -> Array:
    """``(n,)`` f(0) of each heavy atom with its hydrogens, times its occupancy, Å."""
    own = _by_element(atoms, lambda element: float(form_factor(element)[0].sum()))
    return np.asarray((own + atoms.hydrogens * form_factor("H")[0].sum()) * atoms.occupancy)


def displaced_volumes_ang3(atoms: Atoms) -> Array:
    """``(n,)`` volume of ice that each heavy atom with its hydrogens displaces, times its occupancy, Å³."""
    return _group_volumes(atoms) * atoms.occupancy


def atoms_cloud(atoms: Atoms, *, b_factor_ang2: float = 0.0, coarse: bool = False) -> Gaussians:
    """Potential of a molecule above that of the ice around it, V·Å³.

    Parameters
    ----------
    atoms
        of the molecule.
    b_factor_ang2
        added to the atoms' own B-factors.
    coarse
        merge each atom's Gaussians to one (for voxels of `COARSE_VOXEL_ANG` and more).
    """
    motion = (np.clip(atoms.b_factor_ang2, 0, None) + b_factor_ang2) / (8 * np.pi**2)
    parts = [_displaced(atoms, motion), _hydrogens(atoms, motion)]
    for element in np.unique(atoms.elements):
        here = atoms.elements == element
        a, b = form_factor(str(element))
        if coarse:
            a, b = a.sum(keepdims=True), (a * b).sum(keepdims=True) / a.sum()
        for height, width in zip(a, b, strict=True):
            parts.append(
                Gaussians(
                    atoms.places_ang[here],
                    POTENTIAL_PER_SCATTERING_LENGTH * height * atoms.occupancy[here],
                    np.sqrt(width / (8 * np.pi**2) + motion[here]),
                )
            )
    return Gaussians.joined(parts)


def atom_variances_ang2(atoms: Atoms) -> Array:
    """``(n,)`` variance along one axis of each heavy atom's potential with its hydrogens, at rest, Å²."""
    own = _by_element(atoms, lambda element: _mean_width(element))
    length = _by_element(atoms, lambda element: float(form_factor(element)[0].sum()))
    hydrogens = atoms.hydrogens * form_factor("H")[0].sum()
    bound = _mean_width("H") + BOND_ANG**2 / 3
    return np.asarray((length * own + hydrogens * bound) / (length + hydrogens))


def displaced_variances_ang2(atoms: Atoms) -> Array:
    """``(n,)`` variance along one axis of the ice that each heavy atom with its hydrogens displaces, Å²."""
    return np.asarray(_group_volumes(atoms) ** (2 / 3) / (2 * np.pi))


def _mean_width(element: str) -> float:
    """Variance along one axis of an atom's potential, Å²."""
    a, b = form_factor(element)
    return float((a * b).sum() / a.sum() / (8 * np.pi**2))


def _displaced(atoms: Atoms, motion: Array) -> Gaussians:
    """Minus the ice: exp(−π k² v^⅔) is the transform of a Gaussian of variance v^⅔ / 2π."""
    volumes = _group_volumes(atoms)
    return Gaussians(
        atoms.places_ang,
        -ICE_POTENTIAL * volumes * atoms.occupancy,
        np.sqrt(displaced_variances_ang2(atoms) + motion),
    )


def _hydrogens(atoms: Atoms, motion: Array) -> Gaussians:
    """Hydrogens anywhere on a sphere about their heavy atom."""
    bearing = atoms.hydrogens > 0
    width = _mean_width("H") + BOND_ANG**2 / 3
    length = form_factor("H")[0].sum()
    weights = POTENTIAL_PER_SCATTERING_LENGTH * length * atoms.hydrogens * atoms.occupancy
    return Gaussians(atoms.places_ang[bearing], weights[bearing], np.sqrt(width + motion[bearing]))


def _group_volumes(atoms: Atoms) -> Array:
    own = _by_element(atoms, lambda element: DISPLACED_ANG3.get(element, OTHER_DISPLACED_ANG3))
    return own + atoms.hydrogens * DISPLACED_ANG3["H"]


def _by_element(atoms: Atoms, value: Callable[[str], float]) -> Array:
    kinds, which = np.unique(atoms.elements, return_inverse=True)
    values: Array = np.array([value(str(kind)) for kind in kinds], dtype=np.float64)
    return np.asarray(values[which])
