"""Large molecules in few numbers: each residue as one to three globs, points with the mass of their atoms.

Globs (D. Harker, Acta Cryst. 6 (1953) 731) stand for groups of atoms where the resolution does not tell them apart. A
residue of protein is its main chain and its side chain; a nucleotide is phosphate, sugar and base. What a kind of glob
scatters, and how wide it is, is the mean over all of that kind in the model that it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.formats.atoms import Atoms
from lamella.simulate.gaussians import Gaussians
from lamella.simulate.scattering import (
    ICE_POTENTIAL,
    POTENTIAL_PER_SCATTERING_LENGTH,
    atom_variances_ang2,
    displaced_variances_ang2,
    displaced_volumes_ang3,
    scattering_lengths_ang,
)

__all__ = ["STEP_ANG", "Globs", "globs_cloud", "globs_of"]

STEP_ANG = 0.02
"""Coordinates are stored in whole steps of this."""

_MAIN = frozenset({"N", "CA", "C", "O", "OXT"})
_SUGAR = frozenset({"C1'", "C2'", "C3'", "C4'", "O4'", "O2'"})
_BASES = frozenset({"A", "C", "G", "U", "T", "DA", "DC", "DG", "DT"})
_RESIDUES = frozenset(
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL MSE".split()  # noqa: SIM905
)


@dataclass(frozen=True, eq=False)
class Globs:
    """A molecule as globs.

    Attributes
    ----------
    steps
        ``(n, 3)`` int16 places xyz in steps of `STEP_ANG` from the origin of its poses.
    kind
        ``(n,)`` uint8, row of the table.
    table
        ``(kinds, 4)`` scattering length (Å), its standard deviation (Å), displaced volume (Å³), its standard deviation
        (Å).
    """

    steps: NDArray[np.int16]
    kind: NDArray[np.uint8]
    table: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.kind)


def globs_cloud(globs: Globs, *, b_factor_ang2: float = 0.0) -> Gaussians:
    """Potential above that of the ice around it, V·Å³; two Gaussians for each glob."""
    places = globs.steps.astype(np.float64) * STEP_ANG
    length, width, volume, displaced_width = globs.table.astype(np.float64)[globs.kind].T
    motion = b_factor_ang2 / (8 * np.pi**2)
    return Gaussians.joined(
        [
            Gaussians(places, POTENTIAL_PER_SCATTERING_LENGTH * length, np.sqrt(width**2 + motion)),
            Gaussians(places, -ICE_POTENTIAL * volume, np.sqrt(displaced_width**2 + motion)),
        ]
    )


def globs_of(atoms: Atoms) -> Globs:
    """Join a molecule's atoms into globs; the atoms' own B-factors are left out.

    Parameters
    ----------
    atoms
        about the origin that the poses shall have, within ± 655 Å of it; those of occupancy 0 are left out.
    """
    atoms = atoms.select(atoms.occupancy > 0)
    names = np.array(
        [_part(residue, atom) for residue, atom in zip(atoms.residue_names, atoms.atom_names, strict=True)]
    )
    labels = np.array([f"{number} {name}" for number, name in zip(atoms.residue, names, strict=True)])
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # the file's order, so that neighbours stay neighbours
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    glob, count = rank[which], len(order)
    lengths, volumes = scattering_lengths_ang(atoms), displaced_volumes_ang3(atoms)
    total, displaced = np.bincount(glob, lengths, count), np.bincount(glob, volumes, count)
    moments = np.stack([np.bincount(glob, lengths * line, count) for line in atoms.places_ang.T], axis=1)
    centre = moments / total[:, None]
    spread = ((atoms.places_ang - centre[glob]) ** 2).sum(axis=1) / 3
    variance = np.bincount(glob, lengths * (spread + atom_variances_ang2(atoms)), count)
    displaced_variance = np.bincount(glob, volumes * (spread + displaced_variances_ang2(atoms)), count)
    kinds, kind = np.unique(names[first[order]], return_inverse=True)
    many = np.bincount(kind, minlength=len(kinds))
    sums = [np.bincount(kind, values, len(kinds)) for values in (total, variance, displaced, displaced_variance)]
    table = np.stack(
        [sums[0] / many, np.sqrt(sums[1] / sums[0]), sums[2] / many, np.sqrt(sums[3] / sums[2])], axis=1
    ).astype(np.float32)
    return Globs(np.rint(centre / STEP_ANG).astype(np.int16), kind.astype(np.uint8), table)


def _part(residue: str, atom: str) -> str:
    """Which kind of glob an atom belongs to."""
    atom = atom.replace("*", "'")
    if residue in _RESIDUES:
        return "main chain" if atom in _MAIN else residue
    if residue in _BASES:
        if "P" in atom or atom in ("O5'", "O3'", "C5'"):
            return "phosphate"
        return "sugar" if atom in _SUGAR else f"base {residue[-1]}"
    return residue
