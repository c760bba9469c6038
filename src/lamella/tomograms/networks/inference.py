"""A trained network applied to blocks of any size."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.tomograms.filters import Filter, per_voxel
from lamella.tomograms.networks.checkpoint import Model

__all__ = ["check_model", "network_filter"]

Array = NDArray[np.float32]

_SAME_VOXELS = 0.1  # of the voxel size: a network knows structure by its size in voxels


def network_filter(model: Model | None, method: str, device: str) -> Filter:
    """Make a network ready.

    Parameters
    ----------
    model
        trained for this method.
    method
        n2n, n2v or wedge.
    device
        ``cpu`` or ``cuda``.

    Raises
    ------
    InputError
        if there is no model, or it was trained for another method.
    """
    if model is None:
        raise InputError(f"{method} wants a trained network", mend="train one, or name it with denoise.model")
    if model.method != method:
        raise InputError(
            f"the network was trained for {model.method}, not for {method}",
            mend=f"set denoise.method to {model.method}, or name another denoise.model",
        )
    network = model.network(device)
    align = model.architecture.align

    def apply(block: Array) -> Array:
        # what is added at the far end continues the volume's last voxels; tiles inside it have such sizes already
        room = [(0, -n % a) for n, a in zip(block.shape, align, strict=True)]
        padded = np.pad(block, room, mode="edge") if any(end for _, end in room) else block
        with torch.inference_mode(), torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            out = network(torch.from_numpy(padded)[None, None].to(device)).float().cpu().numpy()[0, 0]
        nz, ny, nx = block.shape
        return np.ascontiguousarray(out[:nz, :ny, :nx], dtype=np.float32)

    return Filter(
        apply=apply,
        halo_px=max(model.architecture.halo),
        bytes_of=per_voxel(4 * model.architecture.values),
        align=max(align),
    )


def check_model(model: Model, voxel_size_ang: float, *, bright_field: bool) -> None:
    """Check that a network suits a tomogram.

    Raises
    ------
    InputError
        if it was trained on voxels of another size, or on the other contrast.
    """
    if abs(model.voxel_size_ang / voxel_size_ang - 1) > _SAME_VOXELS:
        raise InputError(
            f"the network was trained on voxels of {model.voxel_size_ang:g} Å and the tomogram has "
            f"{voxel_size_ang:g} Å",
            mend=f"set reconstruct.pixel_size to {model.voxel_size_ang:g}, or train a network on such tomograms",
        )
    if model.bright_field != bright_field:
        dark = "dark" if model.bright_field else "bright"
        raise InputError(
            f"the network was trained on tomograms in which mass is {dark}, and in this one it is not",
            mend="train a network on tomograms of this contrast",
        )
