"""The CryoET data portal's way to lay out tomograms, so that its tools and viewers find them.

``RUN/Reconstructions/VoxelSpacing10.000/Tomograms/100/RUN.mrc``, ``RUN.zarr`` and ``tomogram_metadata.json``; a run's
tomograms are numbered from 100 on. Documented at https://chanzuckerberg.github.io/cryoet-data-portal.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from lamella import __version__
from lamella.formats.atomic import atomic_text
from lamella.formats.zarr_metadata import LevelPlan
from lamella.records import Tomogram

__all__ = ["METADATA", "tomogram_folder", "write_tomogram_metadata"]

METADATA = "tomogram_metadata.json"
FIRST_NUMBER = 100
_METHODS = {"wbp": "WBP", "sirt": "SIRT", "sart": "SART", "fourier": "Fourier Space"}
_SOFTWARE = f"lamella {__version__}"


def tomogram_folder(run: str, voxel_size_ang: float, number: int) -> Path:
    """Where tomogram `number` (from 0) of a run belongs, relative to the data set's folder."""
    return Path(run) / f"Reconstructions/VoxelSpacing{voxel_size_ang:.3f}/Tomograms/{FIRST_NUMBER + number}"


def write_tomogram_metadata(
    folder: Path,
    tomogram: Tomogram,
    levels: list[LevelPlan],
    *,
    within: Path,
    processing: Literal["raw", "denoised"],
    method: str,
    ctf_corrected: bool,
    by_beads: bool,
) -> Path:
    """Write ``tomogram_metadata.json`` beside the volumes; authors and dates are the depositor's to add.

    Parameters
    ----------
    folder
        of the volumes.
    tomogram
        its record.
    levels
        of the pyramid.
    within
        the data set's folder, which file names in it start from.
    processing
        whether the voxels are as reconstructed or denoised.
    method
        of reconstruction, as the setting names it; empty where unknown.
    ctf_corrected
        whether the contrast transfer was corrected.
    by_beads
        whether the series was aligned by gold beads.
    """
    sizes = [dict(zip("zyx", level.shape, strict=True)) for level in levels]
    stem = (folder / tomogram.name).relative_to(within).as_posix()
    values = {
        "run_name": tomogram.name,
        "voxel_spacing": round(tomogram.voxel_size_ang, 3),
        "size": sizes[0],
        "scales": sizes,
        "offset": {"x": 0, "y": 0, "z": 0},
        "affine_transformation_matrix": [[float(row == column) for column in range(4)] for row in range(4)],
        "mrc_file": f"{stem}.mrc",
        "omezarr_dir": f"{stem}.zarr",
        "align_software": _SOFTWARE,
        "fiducial_alignment_status": "FIDUCIAL" if by_beads else "NON_FIDUCIAL",
        "reconstruction_method": _METHODS.get(method, "Unknown"),
        "reconstruction_software": _SOFTWARE,
        "processing": processing,
        "processing_software": _SOFTWARE if processing == "denoised" else None,
        "ctf_corrected": ctf_corrected,
        "tomogram_version": 1,
        "is_visualization_default": processing == "raw",
        "authors": [],
    }
    atomic_text(folder / METADATA, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    return folder / METADATA
