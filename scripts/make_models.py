"""Make the packaged models from atomic models of the wwPDB.

    python scripts/make_models.py --ribosome 70S.pdb.gz --groel 1MNF.pdb.gz --channel 5gjv.pdb.gz [--folder DIR]

The ribosome's file holds several models one after another, each begun by a HEADER line: the two parts of the small
subunit, the large one, two tRNAs with their codons, and the tRNA and EF-Tu of a ternary complex. The same files give
the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import json
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np

from lamella.formats.atoms import Atoms, parse_atoms, read_atoms
from lamella.simulate.globs import Globs, globs_of
from lamella.simulate.scattering import scattering_lengths_ang

FOLDER = Path(__file__).resolve().parents[1] / "src" / "lamella" / "simulate" / "models"
RIBOSOME = (
    "parts of 2J00 and 2J01 (now in 4V51), T. thermophilus 70S with tRNA, and of 1OB2, EF-Tu with kirromycin, "
    "GDPNP and Phe-tRNA, put together; the file names no entry: they are known from its molecules, unit cells and dates"
)
LICENCE = "CC0-1.0 (coordinates of the wwPDB)"
HYDROPHOBIC = frozenset({"ALA", "VAL", "LEU", "ILE", "PHE", "MET", "TRP", "CYS", "GLY"})
CHARGED = frozenset({"ASP", "GLU", "LYS", "ARG", "ASN", "GLN", "HIS"})
MEMBRANE_ANG = 30.0
"""Thickness of a membrane's core."""


def main() -> None:
    """Write every model and the table of what they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("ribosome", "groel", "channel"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    told = parser.parse_args()
    parts = concatenated_models(told.ribosome)
    made = {
        "ribosome": (
            centred(joined(parts)),
            "bacterial 70S ribosome with two tRNAs and EF-Tu·tRNA, T. thermophilus",
            ("2J00", "2J01", "1OB2"),
            RIBOSOME,
        ),
        "ribosome_large": (
            centred(parts[2]),
            "large subunit (50S) of the bacterial ribosome, T. thermophilus",
            ("2J01",),
            RIBOSOME,
        ),
        "ribosome_small": (
            centred(joined(parts[:2])),
            "small subunit (30S) of the bacterial ribosome, T. thermophilus",
            ("2J00",),
            RIBOSOME,
        ),
        "ternary_complex": (
            centred(joined(parts[5:7])),
            "elongation factor EF-Tu with Phe-tRNA, kirromycin and GDPNP",
            ("1OB2",),
            RIBOSOME,
        ),
        "groel": (
            dihedral(centred(read_atoms(told.groel)), 7),
            "chaperonin GroEL with bound peptide, E. coli; sevenfold axis along z, a twofold along x",
            ("1MNF",),
            "1MNF, all chains, water left out",
        ),
        "channel": (
            in_membrane(centred(read_atoms(told.channel))),
            "calcium channel Cav1.1, rabbit; the membrane's middle is z = 0, its outside is at positive z",
            ("5GJV",),
            "5GJV; turned so that its hydrophobic belt lies in the membrane",
        ),
    }
    told.folder.mkdir(parents=True, exist_ok=True)
    facts = {}
    for name, (atoms, title, entries, source) in made.items():
        globs = globs_of(atoms)
        write(told.folder / f"{name}.npz", globs)
        facts[name] = {
            "title": title,
            "entries": list(entries),
            "source": source,
            "mass_kda": round(mass_kda(atoms)),
            "licence": LICENCE,
        }
        size = (told.folder / f"{name}.npz").stat().st_size
        print(
            f"{name}: {len(atoms)} atoms, {len(globs)} globs of {len(globs.table)} kinds, {size} bytes, {facts[name]}"
        )
    (told.folder / "models.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def concatenated_models(path: Path) -> list[Atoms]:
    """The models of a PDB file that holds several, each begun by HEADER; one without atoms is joined to the next."""
    text = gzip.decompress(path.read_bytes()).decode("ascii")
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("HEADER") and any(row.startswith(("ATOM", "HETATM")) for row in blocks[-1]):
            blocks.append([])
        blocks[-1].append(line)
    return [parse_atoms("\n".join(block), f"{path}, part {number + 1}") for number, block in enumerate(blocks)]


def joined(parts: list[Atoms]) -> Atoms:
    """Several models as one."""
    starts = np.cumsum([0, *(int(part.residue[-1]) + 1 for part in parts)])
    numbered = [replace(part, residue=part.residue + start) for part, start in zip(parts, starts, strict=False)]
    names = Atoms.__dataclass_fields__
    return Atoms(**{name: np.concatenate([getattr(part, name) for part in numbered]) for name in names})


def centred(atoms: Atoms) -> Atoms:
    """The model about its centre of scattering."""
    centre = np.average(atoms.places_ang, axis=0, weights=scattering_lengths_ang(atoms))
    return replace(atoms, places_ang=atoms.places_ang - centre)


def dihedral(atoms: Atoms, order: int) -> Atoms:
    """A model of dihedral symmetry with its main axis along z and a twofold along x."""
    weights = scattering_lengths_ang(atoms)
    moments, axes = np.linalg.eigh(np.einsum("n,ni,nj->ij", weights, atoms.places_ang, atoms.places_ang))
    alone = 0 if moments[1] - moments[0] > moments[2] - moments[1] else 2
    turn = np.stack([axes[:, (alone + 1) % 3], axes[:, (alone + 2) % 3], axes[:, alone]])
    places = atoms.places_ang @ (turn * np.sign(np.linalg.det(turn))).T
    # A twofold along x takes azimuth φ of the upper ring to −φ in the lower one.
    phase = [
        np.angle(
            (weights * np.hypot(*places.T[:2]) ** 2 * np.exp(1j * order * np.arctan2(*places.T[1::-1])))[ring].sum()
        )
        for ring in (places[:, 2] > 0, places[:, 2] < 0)
    ]
    back = -(phase[0] + phase[1]) / 2 / order
    spin = np.array([[np.cos(back), -np.sin(back), 0], [np.sin(back), np.cos(back), 0], [0, 0, 1]])
    return replace(atoms, places_ang=places @ spin.T)


def in_membrane(atoms: Atoms) -> Atoms:
    """A membrane protein with the plane of its hydrophobic belt at z = 0 and its larger part outside, at z > 0."""
    alpha = atoms.atom_names == "CA"
    names = atoms.residue_names[alpha]
    score = np.isin(names, list(HYDROPHOBIC)).astype(float) - 1.5 * np.isin(names, list(CHARGED))
    places = atoms.places_ang[alpha]
    index = np.arange(4000)
    z = (index + 0.5) / 4000
    around = index * np.pi * (3 - np.sqrt(5))
    normals = np.stack([np.sqrt(1 - z**2) * np.cos(around), np.sqrt(1 - z**2) * np.sin(around), z], axis=1)
    heights = places @ normals.T
    middles = np.arange(-80.0, 81.0, 1.0)
    inside = np.array([score @ (np.abs(heights - middle) < MEMBRANE_ANG / 2) for middle in middles])
    middle, normal = np.unravel_index(int(inside.argmax()), inside.shape)
    up = normals[normal]
    along = atoms.places_ang @ up - middles[middle]
    if along.mean() < 0:
        up, along = -up, -along
    first = np.linalg.svd(up[None])[2][1]
    turn = np.stack([first, np.cross(up, first), up])
    places = atoms.places_ang @ turn.T
    places[:, 2] = along
    core = np.abs(along) < MEMBRANE_ANG / 2
    places[:, :2] -= places[core, :2].mean(axis=0)
    return replace(atoms, places_ang=places)


def mass_kda(atoms: Atoms) -> float:
    """Mass with hydrogens."""
    heavy = sum(
        count * gemmi.Element(str(name)).weight
        for name, count in zip(*np.unique(atoms.elements, return_counts=True), strict=True)
    )
    return float((heavy + 1.008 * atoms.hydrogens.sum()) / 1000)


def write(path: Path, globs: Globs) -> None:
    """Store as differences along the chain; no clock enters the file."""
    steps = np.diff(globs.steps.astype(np.int32), axis=0, prepend=np.zeros((1, 3), np.int32)).astype(np.int16)
    with path.open("wb") as stream:
        np.savez_compressed(stream, steps=steps, kind=globs.kind, table=globs.table)


if __name__ == "__main__":
    main()
