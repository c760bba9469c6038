"""Sections of an mdoc: the keys, units, signs and order of SerialEM's, against a file of SerialEM 4.0."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import mrcfile
import numpy as np

from lamella.formats.mdoc import new_mdoc, read_mdoc, write_mdoc
from lamella.formats.mdoc_series import series_from_mdoc
from lamella.formats.mdoc_write import WrittenView, serialem_section, serialem_titles

VIEW = WrittenView(
    tilt_deg=-52.00641,
    dose=2.238,
    dose_before=134.379,
    pixel_size_ang=1.971,
    defocus_um=2.5,
    target_defocus_um=3.0,
    axis_deg=94.0,
    exposure_s=0.759969,
    extremes=(0, 1948, 630.934),
    when=datetime(2023, 6, 1, 23, 9, 5),
    stage_um=(137.17512, 367.199, 17.7518),
    image_shift_um=(-0.0733564, 0.646703),
    specimen_shift_um=(0.6467, 0.0734),
    frames="D:\\frames\\TS_01_001_-52.0.tif",
    frame_count=10,
)


def test_a_section_is_one_that_serialem_writes() -> None:
    values = serialem_section(VIEW)
    assert values == {
        "MinMaxMean": "0 1948 630.934",
        "TiltAngle": "-52.00641",
        "StagePosition": "137.1751 367.1990",
        "StageZ": "17.7518",
        "ExposureDose": "2.238",
        "PixelSpacing": "1.971",
        "Defocus": "-2.5000",
        "ImageShift": "-0.0734 0.6467",
        # 90° more than the axis, which is 94° here: 184°, stated as −176°.
        "RotationAngle": "-176",
        "ExposureTime": "0.759969",
        "Binning": "1",
        "TargetDefocus": "-3",
        "PriorRecordDose": "134.379",
        "SubFramePath": "D:\\frames\\TS_01_001_-52.0.tif",
        "NumSubFrames": "10",
        "FrameDosesAndNumber": "0.2238 10",
        "DateTime": "01-Jun-2023  23:09:05",
        "SpecimenShift": "0.6467 0.0734",
    }


def test_nothing_is_stated_that_is_not_known() -> None:
    bare = serialem_section(
        WrittenView(
            **{**vars(VIEW), "frames": None, "specimen_shift_um": None, "conditions": {"SpotSize": "5", "X": "1"}}
        )
    )
    assert not {"SubFramePath", "NumSubFrames", "SpecimenShift", "Magnification", "MagIndex"} & set(bare)
    assert list(bare)[-2:] == ["DateTime", "X"]
    assert list(bare).index("SpotSize") == list(bare).index("PixelSpacing") + 1


def test_the_order_is_that_of_a_recorded_file(shared_data: Path) -> None:
    recorded = read_mdoc(shared_data / "mdoc" / "cryocat_TS_017.mdoc").sections[0].keys
    ours = list(serialem_section(VIEW))
    common = [key for key in ours if key in recorded]
    assert len(common) >= 16
    assert common == [key for key in recorded if key in ours]
    # PACEtomo adds its keys behind all others.
    paced = read_mdoc(shared_data / "mdoc" / "aretomo3_L1_ts_001.mrc.mdoc").sections[0].keys
    assert [key for key in ours if key in paced] == [key for key in paced if key in ours]


def test_it_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "TS_01.mrc.mdoc"
    views = [
        WrittenView(
            **{
                **vars(VIEW),
                "tilt_deg": tilt,
                "frames": None,
                "dose_before": 2.238 * number,
                "when": VIEW.when.replace(minute=number),
            }
        )
        for number, tilt in enumerate((0.0, 3.0, -3.0))
    ]
    header = {
        "PixelSpacing": "1.971",
        "Voltage": "300",
        "ImageFile": "TS_01.mrc",
        "ImageSize": "64 64",
        "DataMode": "1",
    }
    titles = serialem_titles("made for this test", 94.0, VIEW.when)
    assert titles[1].strip() == "Tilt axis angle = 94.0, binning = 1"
    assert serialem_titles("x", 94.0, VIEW.when, "dosym = 8.0")[1].endswith("binning = 1  dosym = 8.0")
    sections = [("ZValue", place, serialem_section(view)) for place, view in enumerate(views)]
    write_mdoc(new_mdoc(path, header, titles, sections))
    mrcfile.write(tmp_path / "TS_01.mrc", np.zeros((3, 64, 64), np.int16), voxel_size=1.971)
    (one,) = series_from_mdoc([path]).series
    assert one.nominal_axis_deg[0] == 94.0
    assert sorted(one.nominal_tilt_deg) == [-3.0, 0.0, 3.0]
    assert dict(zip(one.nominal_tilt_deg, one.pre_exposure, strict=True)) == {0.0: 0.0, 3.0: 2.238, -3.0: 4.476}
