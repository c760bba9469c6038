"""Atomic models read: PDB and mmCIF, water and hydrogens, and what cannot be used."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from lamella.errors import FormatError
from lamella.formats.atoms import holds_atoms, parse_atoms, read_atoms

GLYCINE = """\
HEADER    TEST
ATOM      1  N   GLY A   1       1.000   2.000   3.000  1.00 10.00           N
ATOM      2  CA  GLY A   1       2.000   2.000   3.000  0.50 12.00           C
ATOM      3  C   GLY A   1       3.000   2.500   3.000  1.00 14.00           C
ATOM      4  O   GLY A   1       4.000   2.500  -3.125  1.00 16.00           O
HETATM    5  O   HOH A   2       9.000   9.000   9.000  1.00 16.00           O
HETATM    6 ZN    ZN A   3       5.000   5.000   5.000  1.00 20.00          ZN
END
"""
MMCIF = """\
data_test
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_entity_id
_atom_site.label_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_model_num
ATOM 1 N N  . GLY A 1 1 1.0 2.0 3.0 1.0 10.0 1 A 1
ATOM 2 C CA . GLY A 1 1 2.0 2.0 3.0 0.5 12.0 1 A 1
ATOM 3 H HA . GLY A 1 1 2.0 2.5 3.0 1.0 12.0 1 A 1
ATOM 4 C CA . GLY A 1 1 7.0 7.0 7.0 1.0 12.0 1 A 2
"""


def test_pdb() -> None:
    atoms = parse_atoms(GLYCINE)
    assert list(atoms.elements) == ["N", "C", "C", "O", "Zn"]  # no water
    np.testing.assert_array_equal(atoms.places_ang[3], [4.0, 2.5, -3.125])
    np.testing.assert_array_equal(atoms.b_factor_ang2, [10, 12, 14, 16, 20])
    np.testing.assert_array_equal(atoms.occupancy, [1, 0.5, 1, 1, 1])
    assert atoms.hydrogens[:4].sum() == pytest.approx(3)  # NH and CH2 in a chain
    assert atoms.hydrogens[4] == 0
    assert len(set(atoms.residue[:4])) == 1
    assert atoms.residue[4] != atoms.residue[0]


def test_mmcif_gives_the_first_model_and_counts_its_hydrogens() -> None:
    atoms = parse_atoms(MMCIF)
    assert list(atoms.elements) == ["N", "C"]
    assert atoms.hydrogens.sum() == 1  # those of the file, not of the formula


def test_gzip_and_content_decide_not_the_name(tmp_path) -> None:
    (tmp_path / "model.txt").write_bytes(gzip.compress(GLYCINE.encode()))
    assert holds_atoms(tmp_path / "model.txt")
    assert len(read_atoms(tmp_path / "model.txt")) == 5
    (tmp_path / "map.pdb").write_bytes(bytes(np.arange(300, dtype=np.int32)))
    assert not holds_atoms(tmp_path / "map.pdb")


def test_repeated_chain_names_lose_nothing() -> None:
    twice = GLYCINE.replace("END\n", "") + GLYCINE.split("\n", 1)[1]
    assert len(parse_atoms(twice)) == 10


def test_an_empty_column_of_occupancies_means_all_there() -> None:
    assert (parse_atoms(GLYCINE.replace("1.00 ", "0.00 ").replace("0.50 ", "0.00 ")).occupancy == 1).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no at"),
        (b"HEADER    NOTHING\nEND\n", "no atoms"),
        (MMCIF.replace("1 1 1.0 2.0", "1 1 ? 2.0").encode(), "without finite coordinates"),
        (gzip.compress(GLYCINE.encode(), mtime=0)[:60], "copy the file again"),
        (b"HETATM    5  O   HOH A   2       9.000   9.000   9.000  1.00 16.00           O\n", "nothing but water"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, content: bytes, said: str) -> None:
    (tmp_path / "bad.pdb").write_bytes(content)
    with pytest.raises(FormatError, match=said):
        read_atoms(tmp_path / "bad.pdb")


def test_an_absent_file_is_named(tmp_path) -> None:
    with pytest.raises(FormatError, match=r"gone\.cif"):
        read_atoms(tmp_path / "gone.cif")
