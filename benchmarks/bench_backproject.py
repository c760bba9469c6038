"""Back-projection kernels: speed in voxel updates, and error against exact Fourier sums, beside other ways.

Speed: 40 views with x-tilt 1°, a slab of a 1024 × 1024 × 300 volume, `threads()` threads; updates are voxels × views.
Error: relative rms, at random voxels, of ramp-filtered white noise up to 0.98 of the Nyquist frequency along the
image's axes and the tilt axis (at a sharp edge differently padded images differ), from raw images with rotation, shifts
and x-tilt to voxels. Other libraries see
images that stand in the axis's frame already, without x-tilt or shifts, and their error is that of interpolation across
the axis only. Rows with 16 samples per voxel, read linearly, agree with the exact sums.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray

from benchmarks.machine import best_of, machine_name, peak_mib
from lamella.geometry import TiltGeometry
from lamella.kernels.loops import Loops
from lamella.kernels.projector import Projector
from lamella.kernels.reference import back_project_exactly
from lamella.kernels.rows import Box, RowPlan
from lamella.kernels.sampling import frequencies, sample_image, view_filter
from lamella.runtime import prepare, threads

Volume = NDArray[np.float32]

VIEWS, SIZE, THICKNESS, ROWS = 40, 1024, 300, 48
TILTS_DEG = np.linspace(-60, 57, VIEWS)


def main() -> None:
    """Print the table."""
    prepare(torch=True)
    print(machine_name())
    print(f"{'':44s} {'updates per second':>19s} {'relative rms error':>19s}")
    errors = _errors()
    for label, plan in (("x-tilt 1°", "fine"), ("no x-tilt", "flat"), ("x-tilt per view", "own")):
        _line(f"cosine-stretched rows, {label}", _rows_speed(plan, Loops(compiled=True)), errors.get(plan))
    _line("the same, projection (its transpose)", _projection_speed(), None)
    _line("the same loops in torch on the CPU", _rows_speed("fine", Loops(compiled=False), rows=4, thickness=32), None)
    _line("naive gather, numba", _gather_speed(), errors["gather"])
    _line("torch grid_sample, slice by slice", _grid_sample_speed(), errors["grid_sample"])
    _line("scikit-image iradon, 2 of the slices", _iradon_speed(), errors["iradon"])
    _line("rows with 16 samples per voxel, linear", None, errors["16"])
    print(f"peak memory {peak_mib():.0f} MiB, {threads()} threads")


def _line(label: str, speed: float | None, error: float | None) -> None:
    speed_text = "" if speed is None else f"{speed / 1e9:.2f}e9"
    print(f"{label:44s} {speed_text:>19s} {'' if error is None else f'{error:.4f}':>19s}", flush=True)


# --- speed


def _geometry(kind: str) -> TiltGeometry:
    rng = np.random.default_rng(1)
    x_tilt: Any = {"flat": 0.0, "fine": 1.0, "own": 1 + 0.3 * rng.standard_normal(VIEWS)}[kind]
    return TiltGeometry.from_angles(TILTS_DEG, 85.0, x_tilt_deg=x_tilt)


def _rows_speed(kind: str, loops: Loops, rows: int = ROWS, thickness: int = THICKNESS) -> float:
    """Each thread sums slabs of its own."""
    plan, box = RowPlan.fine(_geometry(kind)), Box(shape=(thickness, rows, SIZE), voxel_size_ang=1.0)
    window = plan.window(box.first(), box.shape)
    samples = torch.from_numpy(np.random.default_rng(2).standard_normal(window.size, dtype=np.float32))
    workers = threads() if loops.compiled else 1
    out = [torch.empty(box.shape) for _ in range(workers)]

    def work() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda part: loops.back_project(samples, plan, window, box.first(), part), out))

    work()
    return workers * VIEWS * np.prod(box.shape) / best_of(work)


def _projection_speed() -> float:
    plan, box = RowPlan.rays(_geometry("fine")), Box(shape=(THICKNESS, ROWS, SIZE), voxel_size_ang=1.0)
    window = plan.window(box.first(), box.shape)
    volume = torch.randn(box.shape)
    rows = [torch.zeros(window.size) for _ in range(threads())]
    loops = Loops(compiled=True)

    def work() -> None:
        with ThreadPoolExecutor(threads()) as pool:
            list(pool.map(lambda part: loops.project(volume, plan, window, box.first(), part), rows))

    work()
    return threads() * VIEWS * np.prod(box.shape) / best_of(work)


@njit(parallel=True, fastmath=True, cache=True)
def _gather(images: Any, cos: Any, sin: Any, out: Any) -> None:
    """The textbook loop: every voxel looks its place up in every image, bilinear across the axis."""
    nz, ny, nx = out.shape
    half = images.shape[2] // 2
    for y in prange(ny):
        for z in range(nz):
            for x in range(nx):
                total = np.float32(0)
                for view in range(len(images)):
                    u = cos[view] * (x - nx // 2) + sin[view] * (z - nz // 2) + half
                    k = int(np.floor(u))
                    if 0 <= k < images.shape[2] - 1:
                        f = np.float32(u - k)
                        row = images[view, y]
                        total += (1 - f) * row[k] + f * row[k + 1]
                out[z, y, x] = total


def _gather_speed() -> float:
    tilt = np.deg2rad(TILTS_DEG)
    images = np.random.default_rng(3).standard_normal((VIEWS, ROWS, SIZE), dtype=np.float32)
    out = np.empty((THICKNESS // 4, ROWS, SIZE), np.float32)
    _gather(images, np.cos(tilt), np.sin(tilt), out)
    return VIEWS * out.size / best_of(lambda: _gather(images, np.cos(tilt), np.sin(tilt), out))


def _grid_sample(images: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """`images` (views, y, u): every plane y is one picture whose rows are the views."""
    nz, _ny, nx = shape
    size = images.shape[2]
    tilt = torch.deg2rad(torch.from_numpy(TILTS_DEG)).float()
    x, z = torch.arange(nx) - nx // 2, torch.arange(nz) - nz // 2
    out = torch.zeros(shape)
    for view in range(len(images)):
        u = torch.cos(tilt[view]) * x[None] + torch.sin(tilt[view]) * z[:, None] + size // 2
        grid = torch.stack([u / (size - 1) * 2 - 1, torch.zeros_like(u)], dim=-1)[None]
        lines = images[view][None, :, None]  # (1, channels = y, 1, u)
        out += torch.nn.functional.grid_sample(lines, grid, align_corners=True)[0].permute(1, 0, 2)
    return out


def _grid_sample_speed() -> float:
    images = torch.randn(VIEWS, 16, SIZE)
    shape = (THICKNESS // 4, 16, SIZE)
    return VIEWS * np.prod(shape) / best_of(lambda: _grid_sample(images, shape), 2)


def _iradon_speed() -> float:
    """A slice of scikit-image is square: its voxels are SIZE², whatever the thickness."""
    from skimage.transform import iradon

    slices = np.random.default_rng(4).standard_normal((2, SIZE, VIEWS))
    start = time.perf_counter()
    for part in slices:
        iradon(part, theta=TILTS_DEG, filter_name=None, circle=True)
    return VIEWS * 2 * SIZE**2 / (time.perf_counter() - start)


# --- errors


def _errors(size: int = 256, thickness: int = 64, points: int = 3000) -> dict[str, float]:
    rng = np.random.default_rng(5)
    box = Box(shape=(thickness, size - 112, size - 112), voxel_size_ang=1.0)
    index = np.stack([rng.integers(0, n, points) for n in box.shape], axis=-1)
    places = (index - np.array(box.shape) // 2)[:, ::-1]
    out = {}
    for kind in ("fine", "flat", "own"):
        geometry = _geometry(kind).with_terms(
            z_rot_deg=85 + 0.1 * np.arange(VIEWS),
            x_shift_ang=rng.normal(0, 3, VIEWS),
            y_shift_ang=rng.normal(0, 3, VIEWS),
        )
        images = _noise(rng, (VIEWS, size, size), geometry.z_rot_deg)
        exact = back_project_exactly(images, geometry, 1.0, box, places, filter_uv=lambda ku, kv: np.abs(ku))
        out[kind] = _relative(_whole_path(images, geometry, box)[tuple(index.T)], exact)
    images = _noise(rng, (VIEWS, size, size), np.zeros(VIEWS))
    return out | _errors_of_others(images, index, places, box)


def _noise(rng: np.random.Generator, shape: tuple[int, int, int], axis_deg: NDArray[np.float64]) -> Volume:
    ky, kx = np.fft.fftfreq(shape[1])[:, None], np.fft.rfftfreq(shape[2])[None]
    out = np.empty(shape, np.float32)
    for image, turn in zip(out, np.deg2rad(axis_deg), strict=True):
        spectrum = np.fft.rfft2(rng.standard_normal(shape[1:]))
        ku, kv = np.cos(turn) * kx + np.sin(turn) * ky, np.cos(turn) * ky - np.sin(turn) * kx
        for k in (kx, ky, ku, kv):
            spectrum *= np.abs(k) <= 0.49
        image[:] = np.fft.irfft2(spectrum, s=shape[1:])
    return out


def _relative(found: NDArray[Any], exact: NDArray[Any]) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _whole_path(images: Volume, geometry: TiltGeometry, box: Box) -> Volume:
    """Ramp filter, finer grid, rows, voxels: what `reconstruct` does, without levels, windows and weights."""
    projector = Projector(geometry, images.shape[1:], 1.0, box)
    grid, loops = projector.grid, Loops(compiled=True)
    rows = torch.empty(projector.window.size)
    for view, image in enumerate(images):
        padded = np.zeros(grid.padded, np.float32)
        (a, b), (height, width) = grid.start, grid.image_shape
        padded[a : a + height, b : b + width] = image.T if grid.swapped else image
        what = view_filter(grid, geometry, projector.plan, view, along_u=frequencies())
        stored = sample_image(torch.from_numpy(padded), grid, what)
        loops.read(projector.reader, stored, view, projector.window, rows)
    out = torch.empty(box.shape)
    loops.back_project(rows, projector.plan, projector.window, box.first(), out)
    return out.numpy()


def _errors_of_others(images: Volume, index: NDArray[Any], places: NDArray[Any], box: Box) -> dict[str, float]:
    """Images in the axis's frame: ramp-filtered along x by FFT, then interpolated at integer and 1/16 samples."""
    size = images.shape[2]
    geometry = TiltGeometry.from_angles(TILTS_DEG)
    exact = back_project_exactly(images, geometry, 1.0, box, places, filter_uv=lambda ku, kv: np.abs(ku))
    padded = np.pad(images, ((0, 0), (0, 0), (size // 2, size // 2)))
    spectrum = np.fft.rfft(padded, axis=2) * np.fft.rfftfreq(2 * size)
    spectrum[..., -1] = 0
    filtered = np.fft.irfft(spectrum, axis=2)[..., size // 2 : -size // 2].astype(np.float32)
    y0 = (size - box.shape[1]) // 2
    rows = np.ascontiguousarray(filtered[:, y0 : y0 + box.shape[1]])
    tilt = np.deg2rad(TILTS_DEG)
    gathered = np.empty(box.shape, np.float32)
    _gather(rows, np.cos(tilt), np.sin(tilt), gathered)
    sampled = _grid_sample(torch.from_numpy(rows), box.shape).numpy()
    fine = np.fft.irfft(spectrum, n=32 * size, axis=2) * 16  # 16 samples per voxel
    u = np.cos(tilt)[:, None] * places[:, 0] + np.sin(tilt)[:, None] * places[:, 2]
    at = (u + size) * 16
    k = np.floor(at).astype(int)
    line = (places[:, 1] + size // 2)[None]
    view = np.arange(VIEWS)[:, None]
    oversampled = ((1 - (at - k)) * fine[view, line, k] + (at - k) * fine[view, line, k + 1]).sum(axis=0)
    where = tuple(index.T)
    return {
        "gather": _relative(gathered[where], exact),
        "grid_sample": _relative(sampled[where], exact),
        "16": _relative(oversampled, exact),
        "iradon": _iradon_error(rows, geometry, box, index, exact),
    }


def _iradon_error(rows: Volume, geometry: TiltGeometry, box: Box, index: NDArray[Any], exact: NDArray[Any]) -> float:
    """Some slices, linear interpolation; scikit-image's slice is square, turned, and scaled by π / 2 views."""
    from skimage.transform import iradon

    nz, _ny, nx = box.shape
    found, wanted = [], []
    for line in np.unique(index[:, 1])[:6]:
        chosen = index[:, 1] == line
        sinogram = rows[:, line].T.astype(float)
        whole = iradon(sinogram, theta=geometry.y_tilt_deg, filter_name=None, circle=False, output_size=rows.shape[2])
        whole = whole * 2 * len(rows) / np.pi
        half = rows.shape[2] // 2
        z, x = index[chosen, 0] - nz // 2, index[chosen, 2] - nx // 2
        found.append(_best_orientation(whole, half, x, z, exact[chosen]))
        wanted.append(exact[chosen])
    return _relative(np.concatenate(found), np.concatenate(wanted))


def _best_orientation(
    whole: NDArray[Any], half: int, x: NDArray[Any], z: NDArray[Any], exact: NDArray[Any]
) -> NDArray[Any]:
    """Their x and y against our x and z: the one of four mirrorings that agrees."""
    options = [whole[half + sz * z, half + sx * x] for sx in (1, -1) for sz in (1, -1)]
    return min(options, key=lambda option: _relative(option, exact))


if __name__ == "__main__":
    main()
