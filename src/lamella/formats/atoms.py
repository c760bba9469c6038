"""Atomic models: PDB and mmCIF, also gzipped, read by gemmi."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError

__all__ = ["Atoms", "holds_atoms", "parse_atoms", "read_atoms"]

LARGEST_TEXT = 1 << 30
"""Bytes of text that are read of one file, after decompression."""
MOST_ATOMS = 5_000_000
MOST_HYDROGENS = 2.0
"""Per heavy atom, where a residue lacks atoms or its table gives more."""
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Atoms:
    """The heavy atoms of a model's first copy, in the file's order; water is left out.

    Attributes
    ----------
    elements
        ``(n,)`` symbols (``"C"``, ``"Zn"``).
    places_ang
        ``(n, 3)`` xyz, Å.
    b_factor_ang2, occupancy
        ``(n,)`` isotropic B-factor and occupancy as stated.
    hydrogens
        ``(n,)`` hydrogens bound to each: those in the file, else those of the residue's formula spread evenly.
    residue
        ``(n,)`` number of the residue in the file, from 0; says nothing of chains, whose names may repeat.
    residue_names, atom_names
        ``(n,)`` as stated (``"ALA"``, ``"CA"``).
    """

    elements: NDArray[np.str_]
    places_ang: NDArray[np.float64]
    b_factor_ang2: NDArray[np.float64]
    occupancy: NDArray[np.float64]
    hydrogens: NDArray[np.float64]
    residue: NDArray[np.int64]
    residue_names: NDArray[np.str_]
    atom_names: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.elements)

    def select(self, chosen: NDArray[np.bool_]) -> Atoms:
        """Some of them."""
        return Atoms(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def holds_atoms(path: Path | str) -> bool:
    """Whether a file begins as text (perhaps gzipped), as atomic models do and maps do not.

    Raises
    ------
    FormatError
        if the file cannot be opened.
    """
    start = _text(Path(path), 64, whole=False)
    return bool(start) and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start)


def read_atoms(path: Path | str) -> Atoms:
    """Read the first model of a PDB or mmCIF file; which of the two is told by its content.

    Raises
    ------
    FormatError
        if the file cannot be read, is too large, or holds no atoms.
    """
    raw = _text(Path(path), LARGEST_TEXT, whole=True)
    return parse_atoms(raw.decode("utf-8", errors="replace"), str(path))


def parse_atoms(text: str, origin: str = "text") -> Atoms:
    """Atoms of the first model in a text; `origin` names it in errors.

    Raises
    ------
    FormatError
        if it is no model, too large, or holds no atoms.
    """
    try:
        structure = gemmi.read_structure_string(text)
    except (RuntimeError, ValueError, IndexError) as problem:
        raise FormatError(f"{origin}: no atomic model ({problem})", mend="give a PDB or mmCIF file") from problem
    if len(structure) == 0 or structure[0].count_atom_sites() == 0:
        raise FormatError(f"{origin}: no atoms", mend="give a PDB or mmCIF file with ATOM records")
    if structure[0].count_atom_sites() > MOST_ATOMS:
        raise FormatError(f"{origin}: more than {MOST_ATOMS:,} atoms", mend="give a part of the model, or a map of it")
    atoms = _collected(structure[0])
    if len(atoms) == 0:
        raise FormatError(f"{origin}: nothing but water or hydrogen", mend="give a model of a molecule")
    if not (np.isfinite(atoms.places_ang).all() and np.isfinite(atoms.b_factor_ang2).all()):
        raise FormatError(f"{origin}: an atom without finite coordinates", mend="remove it from the file")
    if not atoms.occupancy.any():  # some programs leave the column empty
        return replace(atoms, occupancy=np.ones(len(atoms)))
    return atoms


def _collected(model: gemmi.Model) -> Atoms:
    symbols, names, kinds, numbers = [], [], [], []
    places, factors, occupancies, hydrogens = [], [], [], []
    number = 0
    for chain in model:
        for residue in chain:
            if residue.is_water():
                continue
            heavy = [atom for atom in residue if not atom.is_hydrogen()]
            bound = _hydrogens_per_atom(residue, len(heavy))
            for atom in heavy:
                symbols.append(atom.element.name)
                names.append(atom.name)
                kinds.append(residue.name)
                numbers.append(number)
                places.append(atom.pos.tolist())
                factors.append(atom.b_iso)
                occupancies.append(atom.occ)
                hydrogens.append(bound)
            number += 1
    return Atoms(
        elements=np.array(symbols, dtype=np.str_),
        places_ang=np.array(places, dtype=np.float64).reshape(-1, 3),
        b_factor_ang2=np.array(factors, dtype=np.float64),
        occupancy=np.clip(np.array(occupancies, dtype=np.float64), 0, 1),
        hydrogens=np.array(hydrogens, dtype=np.float64),
        residue=np.array(numbers, dtype=np.int64),
        residue_names=np.array(kinds, dtype=np.str_),
        atom_names=np.array(names, dtype=np.str_),
    )


def _hydrogens_per_atom(residue: gemmi.Residue, heavy: int) -> float:
    """Of each heavy atom: counted where the file has them, else from the formula, less the two of a polymer's bond."""
    if heavy == 0:
        return 0.0
    present = len(residue) - heavy
    if present == 0:
        known = gemmi.find_tabulated_residue(residue.name)
        present = known.hydrogen_count - 2 if known.is_amino_acid() or known.is_nucleic_acid() else known.hydrogen_count
        if known.hydrogen_count == 0:
            # An unknown residue or ion: one hydrogen for each carbon, as in most organic matter.
            present = sum(atom.element == gemmi.Element("C") for atom in residue)
    return min(max(present, 0) / heavy, MOST_HYDROGENS)


def _text(path: Path, limit: int, *, whole: bool) -> bytes:
    """At most `limit` bytes of a file, decompressed."""
    try:
        with path.open("rb") as plain:
            gzipped = plain.read(2) == _GZIP
            plain.seek(0)
            if gzipped:
                with gzip.GzipFile(fileobj=plain) as inner:
                    found = inner.read(limit + 1)
            else:
                found = plain.read(limit + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise FormatError(f"{path}: {problem}", mend="check the path, or copy the file again") from problem
    if whole and len(found) > limit:
        raise FormatError(f"{path}: more than {limit >> 20} MiB of text", mend="give a part of the model")
    return found[:limit]
