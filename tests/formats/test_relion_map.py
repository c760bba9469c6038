"""``map.star``: what is known of an average comes back, and half a table is an error."""

from __future__ import annotations

import pytest

from lamella.errors import FormatError
from lamella.formats.relion_map import read_map, write_map
from lamella.records import Map

WHOLE = Map(
    volume="refine/map.mrc",
    half1="refine/map_half1.mrc",
    half2="refine/map_half2.mrc",
    fsc="refine/fsc.star",
    mask="refine/my mask.mrc",
    classes=("refine/class_1.mrc", "refine/class_2.mrc"),
    voxel_size_ang=1.35,
    box_px=96,
    symmetry="D7",
    resolution_ang=9.25,
    quality={"MapBFactorAng2": -120.5},
)


@pytest.mark.parametrize("found", [WHOLE, Map(volume="map.mrc", voxel_size_ang=4.0, box_px=32)])
def test_a_map_comes_back(tmp_path, found):
    write_map(tmp_path / "map.star", found)
    back = read_map(tmp_path / "map.star")
    assert vars(back) == vars(found)


def test_no_file_is_no_map(tmp_path):
    assert read_map(tmp_path / "map.star") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_other\n_lamellaMap m.mrc\n", "no table lamella_map"),
        ("data_lamella_map\n_lamellaMapVoxelAngst 2\n_lamellaMapBox 8\n", "no column lamellaMap"),
        ("data_lamella_map\n_lamellaMap m.mrc\n_lamellaMapBox 8\n", "no column lamellaMapVoxelAngst"),
        ("data_lamella_map\n_lamellaMap m.mrc\n_lamellaMapVoxelAngst two\n_lamellaMapBox 8\n", "'two', no number"),
    ],
)
def test_half_a_table_is_an_error(tmp_path, text, message):
    (tmp_path / "map.star").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_map(tmp_path / "map.star")
