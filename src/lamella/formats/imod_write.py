"""Command files with which IMOD makes the aligned stack and the tomogram from a record's alignment."""

from __future__ import annotations

import os
from pathlib import Path

from lamella.formats.images import split_name
from lamella.formats.imod_com import write_number_list
from lamella.records import TiltSeries

__all__ = ["align_com", "newst_com", "prenewst_com", "tilt_com"]

_THICKNESS_ANG = 3000.0


def tilt_com(record: TiltSeries, size_px: tuple[int, int], x_axis_tilt_deg: float, local_name: str = "") -> str:
    """Text of ``tilt.com`` for aligned images of `size_px` (x, y), with a file of local alignments or none."""
    thickness_ang = record.thickness_ang or _THICKNESS_ANG
    thickness_px = 2 * max(1, round(thickness_ang / record.pixel_size_ang / 2))
    name = record.name
    lines = [
        "# Tomogram of the aligned stack",
        "$tilt -StandardInput",
        f"InputProjections {name}_ali.mrc",
        f"OutputFile {name}_full_rec.mrc",
        "IMAGEBINNED 1",
        f"FULLIMAGE {size_px[0]} {size_px[1]}",
        "SUBSETSTART 0 0",
        f"TILTFILE {name}.tlt",
        f"XTILTFILE {name}.xtilt",
        f"XAXISTILT {x_axis_tilt_deg + 0.0:.5f}",
        *([f"LOCALFILE {local_name}"] if local_name else []),
        "OFFSET 0.0",
        "SHIFT 0.0 0.0",
        f"THICKNESS {thickness_px}",
        "RADIAL 0.35 0.035",
        "FalloffIsTrueSigma 1",
        "PERPENDICULAR",
        "AdjustOrigin",
        "MODE 2",
    ]
    return "".join(f"{line}\n" for line in lines)


def newst_com(record: TiltSeries, size_px: tuple[int, int], folder: Path, root: Path) -> str:
    """Text of ``newst.com``, which stands in `folder`: the record's views, in its order, transformed.

    Runs of sections from one file become one ``InputFile`` with its ``SectionsToRead``, counted from 0.
    """
    name = record.name
    lines = ["# Aligned stack, one section per view of the record", "$newstack -StandardInput"]
    lines += _views(record, folder, root, transformed=True)
    lines += [
        f"OutputFile {name}_ali.mrc",
        f"TransformFile {name}.xf",
        f"SizeToOutputInXandY {size_px[0]},{size_px[1]}",
        "AntialiasFilter -1",
    ]
    return "".join(f"{line}\n" for line in lines)


def prenewst_com(record: TiltSeries, folder: Path, root: Path) -> str:
    """Text of ``prenewst.com``: the record's views, in its order, as they are."""
    lines = ["# Stack that the fiducial model lies on, one section per view of the record", "$newstack -StandardInput"]
    lines += _views(record, folder, root, transformed=False)
    lines.append(f"OutputFile {record.name}_preali.mrc")
    return "".join(f"{line}\n" for line in lines)


def align_com(record: TiltSeries) -> str:
    """Text of ``align.com``: tiltalign from the fiducial model, with its usual groups of views."""
    name = record.name
    height, width = record.image_shape_px
    lines = [
        "# Alignment from the fiducial model",
        "$tiltalign -StandardInput",
        f"ModelFile {name}.fid",
        f"ImageSizeXandY {width},{height}",
        "ImagesAreBinned 1",
        f"OutputModelFile {name}.3dmod",
        f"OutputResidualFile {name}.resid",
        f"OutputFidXYZFile {name}fid.xyz",
        f"OutputTiltFile {name}.tlt",
        f"OutputXAxisTiltFile {name}.xtilt",
        f"OutputTransformFile {name}.tltxf",
        f"RotationAngle {float(record.nominal_axis_deg[0]):.3f}",
        f"TiltFile {name}.rawtlt",
        "AngleOffset 0.0",
        "RotOption 1",
        "RotDefaultGrouping 5",
        "TiltOption 5",
        "TiltDefaultGrouping 5",
        "MagReferenceView 1",
        "MagOption 1",
        "MagDefaultGrouping 4",
        "XStretchOption 0",
        "SkewOption 0",
        "ResidualReportCriterion 3.0",
        "SurfacesToAnalyze 2",
        "MetroFactor 0.25",
        "MaximumCycles 1000",
        "AxisZShift 0.0",
        "LocalAlignments 0",
        "RobustFitting",
        "$xfproduct -StandardInput",
        f"InputFile1 {name}.prexg",
        f"InputFile2 {name}.tltxf",
        f"OutputFile {name}_fid.xf",
        f"$b3dcopy -p {name}_fid.xf {name}.xf",
    ]
    return "".join(f"{line}\n" for line in lines)


def _views(record: TiltSeries, folder: Path, root: Path, *, transformed: bool) -> list[str]:
    """Lines that make newstack read the record's views: runs of sections of one file, counted from 0."""
    runs: list[tuple[str, list[int]]] = []
    for image in record.images or ():
        section, file = split_name(image)
        if not runs or runs[-1][0] != file:
            runs.append((file, []))
        runs[-1][1].append(section or 0)
    lines: list[str] = []
    line = 0
    # newstack takes the transform whose line is the section's number, unless it is told the lines
    numbered = len(runs) == 1 and runs[0][1] == list(range(len(runs[0][1])))
    for file, sections in runs:
        path = os.path.relpath((root / file).resolve(), folder.resolve())
        lines += [f"InputFile {path}", f"SectionsToRead {write_number_list(tuple(sections))}"]
        if transformed and not numbered:
            lines.append(f"UseTransformLines {write_number_list(tuple(range(line, line + len(sections))))}")
        line += len(sections)
    return lines
