"""One step of nonlinear anisotropic diffusion in plain torch: the reference, and the path for GPUs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lamella.kernels.diffuse_model import EDGE_CONSTANT, DiffusionModel, cosine_third, gaussian_weights

__all__ = ["diffuse_step", "diffusion_tensor", "eigenvalues", "structure_tensor"]

_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of axes x, y, z; the order of a tensor's six components
_TINY = 1e-10


def smooth(volume: Tensor, width_px: float) -> Tensor:
    """Gaussian smoothing of ``(d, h, w)``; values are repeated beyond the borders."""
    half = torch.as_tensor(gaussian_weights(width_px), dtype=volume.dtype, device=volume.device)
    radius = len(half) - 1
    weights = torch.cat([half.flip(0)[:-1], half])
    for axis in range(3):
        shape, pad = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + axis] = -1
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = radius
        padded = F.pad(volume[None, None], pad, mode="replicate")
        volume = F.conv3d(padded, weights.reshape(shape))[0, 0]
    return volume


def _shifted(volume: Tensor, axis: int, step: int, *, border: float = 1.0) -> Tensor:
    """The neighbour's value; beyond a border the last one times `border`."""
    n = volume.shape[axis]
    inside = volume.narrow(axis, max(step, 0), n - 1)
    edge = border * volume.narrow(axis, n - 1 if step > 0 else 0, 1)
    return torch.cat([inside, edge] if step > 0 else [edge, inside], dim=axis)


def _central(volume: Tensor, axis: int) -> Tensor:
    return 0.5 * (_shifted(volume, axis, 1) - _shifted(volume, axis, -1))


def structure_tensor(volume: Tensor, sigma_px: float, rho_px: float) -> Tensor:
    """``(6, d, h, w)`` components xx xy xz yy yz zz of G_ρ ∗ (∇u_σ ∇u_σᵀ)."""
    smoothed = smooth(volume, sigma_px)
    gradient = [_central(smoothed, 2 - axis) for axis in range(3)]  # x, y, z
    return torch.stack([smooth(gradient[i] * gradient[j], rho_px) for i, j in _PAIRS])


def eigenvalues(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues, falling, of symmetric matrices ``(6, ...)``, in closed form (Smith 1961)."""
    mean, spread, unit = _deviator(tensor)
    high, low = _unit_eigenvalues(unit)
    return mean + spread * high, mean - spread * (high + low), mean + spread * low


def _deviator(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean eigenvalue q, spread p, and the matrix (J − q)/p, whose eigenvalues are 2 cos."""
    xx, xy, xz, yy, yz, zz = tensor
    mean = (xx + yy + zz) / 3
    dx, dy, dz = xx - mean, yy - mean, zz - mean
    spread = ((dx**2 + dy**2 + dz**2 + 2 * (xy**2 + xz**2 + yz**2)) / 6).sqrt().clamp_min(_TINY)
    return mean, spread, torch.stack([dx, xy, xz, dy, yz, dz]) / spread


def _unit_eigenvalues(unit: Tensor) -> tuple[Tensor, Tensor]:
    a, b, c, d, e, f = unit
    r = (0.5 * (a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d))).clamp(-1, 1)
    out = []
    for sign in (1, -1):
        t = ((1 + sign * r) / 2).sqrt()
        value = torch.zeros_like(t)
        for coefficient in reversed(cosine_third):
            value = value * t + coefficient
        out.append(sign * 2 * value)
    return out[0], out[1]


def _projector(unit: Tensor, value: Tensor) -> Tensor:
    """``(6, ...)`` v vᵀ of the eigenvector of one eigenvalue: the longest column of the adjugate."""
    a, b, c, d, e, f = unit
    a, d, f = a - value, d - value, f - value
    columns = torch.stack(
        [
            torch.stack([d * f - e * e, c * e - b * f, b * e - c * d]),
            torch.stack([c * e - b * f, a * f - c * c, b * c - a * e]),
            torch.stack([b * e - c * d, b * c - a * e, a * d - b * b]),
        ]
    )
    diagonal = torch.stack([columns[i, i] for i in range(3)])
    chosen = diagonal.argmax(0)
    v = torch.gather(columns, 0, chosen.expand(1, *columns.shape[1:]))[0]
    v = v / (v.square().sum(0) + 1e-30).sqrt()
    return torch.stack([v[i] * v[j] for i, j in _PAIRS])


def diffusion_tensor(structure: Tensor, model: DiffusionModel) -> Tensor:
    """``(6, ...)`` the diffusion tensor D of a structure tensor ``(6, ...)``.

    Eigenvalues of D along the eigenvectors of J, μ₁ ≥ μ₂ ≥ μ₃, with λ the contrast and κ the coherence:

    * EED (Weickert 1998): g(μ₁), 1, 1 with g(s²) = 1 − exp(−3.31488 (λ²/s²)⁴).
    * CED (Weickert 1998; planes after Fernández & Li 2003): α, α + (1 − α) exp(−κ²/(μ₁ − μ₂)²), and the same with
      μ₁ − μ₃.
    * hybrid (after Frangakis & Hegerl 2001, with a smooth switch): (1 − w) EED + w CED, w = x⁴/(1 + x⁴),
      x = (μ₁ − μ₃)/κ.
    """
    _, spread, unit = _deviator(structure)
    mean = (structure[0] + structure[3] + structure[5]) / 3
    high, low = _unit_eigenvalues(unit)
    mu1, mu12, mu13 = mean + spread * high, spread * (2 * high + low), spread * (high - low)
    parts = torch.zeros((3, *mean.shape), dtype=structure.dtype, device=structure.device)
    weight = torch.zeros_like(mean)
    if model.mode == "hybrid":
        ratio = (mu13 / model.coherence).clamp(max=100.0) ** 4
        weight = ratio / (1 + ratio)
    elif model.mode == "ced":
        weight = torch.ones_like(mean)
    if model.mode != "ced":
        ratio = model.contrast**2 / mu1.clamp_min(_TINY)
        edge = 1 - torch.exp(-EDGE_CONSTANT * ratio.clamp(max=10.0) ** 4)
        parts += (1 - weight) * torch.stack([edge, torch.ones_like(edge), torch.ones_like(edge)])
    if model.mode != "eed":
        plane, line = (
            model.alpha + (1 - model.alpha) * torch.exp(-((model.coherence / gap.clamp_min(_TINY)) ** 2))
            for gap in (mu12, mu13)
        )
        parts += weight * torch.stack([torch.full_like(plane, model.alpha), plane, line])
    tensor = (parts[0] - parts[1]) * _projector(unit, high) + (parts[2] - parts[1]) * _projector(unit, low)
    for component in (0, 3, 5):
        tensor[component] += parts[1]
    return tensor


def diffuse_step(volume: Tensor, model: DiffusionModel) -> Tensor:
    """One explicit step of ``(d, h, w)``; no flux crosses the borders, so the mean stays.

    Weickert's standard discretisation: compact differences for the diagonal of D, central ones for the rest, both as
    fluxes between neighbours.
    """
    tensor = diffusion_tensor(structure_tensor(volume, model.sigma_px, model.rho_px), model)
    return volume + model.time_step * _divergence(volume, tensor)


def _divergence(volume: Tensor, tensor: Tensor) -> Tensor:
    component = {pair: tensor[k] for k, pair in enumerate(_PAIRS)}
    slopes = [_central(volume, 2 - axis) for axis in range(3)]
    out = torch.zeros_like(volume)
    for i in range(3):
        axis, along = 2 - i, component[i, i]
        for step in (1, -1):
            out += 0.5 * (_shifted(along, axis, step) + along) * (_shifted(volume, axis, step) - volume)
        across = sum(component[min(i, j), max(i, j)] * slopes[j] for j in range(3) if j != i)
        assert isinstance(across, Tensor)
        out += 0.5 * (_shifted(across, axis, 1, border=-1.0) - _shifted(across, axis, -1, border=-1.0))
    return out
