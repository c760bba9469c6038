"""One face for the hot loops: compiled ones on a CPU, torch ones on any device."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lamella.kernels.backproject import back_project_rows
from lamella.kernels.device import add_rows_torch, back_project_rows_torch, project_rows_torch, read_rows_torch
from lamella.kernels.gather import RowReader
from lamella.kernels.project import project_rows
from lamella.kernels.rows import RowPlan, RowWindow

__all__ = ["Loops"]

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Loops:
    """The loops between stored views, rows and voxels, on tensors.

    Attributes
    ----------
    compiled
        True for the compiled loops, whose tensors must lie in the computer's own memory; they let other threads run.
    """

    compiled: bool

    @classmethod
    def on(cls, device: str) -> Loops:
        """The loops for a torch device."""
        return cls(compiled=device == "cpu")

    def read(self, reader: RowReader, stored: Tensor, view: int, window: RowWindow, rows: Tensor) -> None:
        """Fill one view's part of the flat buffer `rows` from its stored image."""
        if self.compiled:
            reader.read(stored.numpy(), view, window, rows.numpy())
        else:
            read_rows_torch(reader, stored, view, window, rows)

    def add(self, reader: RowReader, rows: Tensor, view: int, window: RowWindow, stored: Tensor) -> None:
        """The transpose of `read`: add one view's part of `rows` to its stored image."""
        if self.compiled:
            reader.add(rows.numpy(), view, window, stored.numpy())
        else:
            add_rows_torch(reader, rows, view, window, stored)

    def back_project(self, rows: Tensor, plan: RowPlan, window: RowWindow, first: Place, out: Tensor) -> None:
        """Sum the rows of all views into a block of voxels `out` ``(nz, ny, nx)``, overwritten."""
        if self.compiled:
            back_project_rows(rows.numpy(), plan, window, first, out.numpy())
        else:
            back_project_rows_torch(rows, plan, window, first, out)

    def project(self, volume: Tensor, plan: RowPlan, window: RowWindow, first: Place, rows: Tensor) -> None:
        """The transpose of `back_project`: add a block of voxels to `rows`."""
        if self.compiled:
            project_rows(volume.numpy(), plan, window, first, rows.numpy())
        else:
            project_rows_torch(volume, plan, window, first, rows)
