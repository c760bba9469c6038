"""How strong a filter should be: the strength whose result is most like the truth, as the noise lets one estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["NoiseSpectrum", "best_strength", "estimated_likeness"]

Array = NDArray[np.float32]
Apply = Callable[[Array], Array]

_PIECE = 20  # voxels along the edge of a piece whose spectrum is taken
_FIRST_SHELL = 4  # below it structure may be in most pieces
_OUTLIER = 3.0  # noise; what is further from the mean, such as gold, does not decide alone
_PROBE = 0.1  # size of the disturbance by which a filter is tried, in noise
_MARGIN = 4  # voxels at the border of a block that are left out
_ROUNDS = 2  # of correcting the spectrum by what its own noise shows
_STEP = 2**0.5  # ratio of strengths that are tried


class NoiseSpectrum:
    """Power of the noise by frequency, from blocks of which most is noise.

    Parameters
    ----------
    blocks
        ``(n, a, b, c)`` of the volume, any unit.

    Notes
    -----
    Weighted back-projection and the detector colour the noise. Its power in a shell is the median over small pieces of
    the volume: what is in the minority of them, structure, does not count. The lowest shells, where structure is
    strongest, are no higher than a Gaussian through the others is there. Small tapered pieces blur a steep spectrum,
    and the median of few terms lies below their mean: that is corrected by what noise drawn from the spectrum found
    shows when it is measured alike. Where structure has a tenth of the noise's power, an error of a twentieth in the
    noise is one of a half in the structure. White noise of variance v has power v in every shell.
    """

    def __init__(self, blocks: Array) -> None:
        self.frequency, seen = _spectrum(blocks)
        self.power = seen
        random = np.random.default_rng(1)
        for _ in range(_ROUNDS):
            drawn = np.stack([self.draw(blocks.shape[1:], random) for _ in range(len(blocks))])
            self.power = self.power * seen / np.maximum(_spectrum(drawn)[1], np.finfo(float).tiny)

    def shared(self) -> float:
        """Voxels that share one independent value of the noise: 1 where it is white, Σ ρ² over its correlation ρ."""
        power = np.interp(_length((_PIECE,) * 3), self.frequency, self.power)
        return float((power**2).mean() / power.mean() ** 2)

    def draw(self, shape: tuple[int, ...], random: np.random.Generator) -> Array:
        """Noise of this spectrum and of Gaussian values."""
        terms = np.fft.rfftn(random.standard_normal(shape, dtype=np.float32))
        terms *= np.sqrt(np.interp(_length(shape), self.frequency, self.power))
        out: Array = np.fft.irfftn(terms, s=shape, axes=tuple(range(len(shape)))).astype(np.float32)
        return out


def estimated_likeness(apply: Apply, blocks: Sequence[Array], probes: Sequence[Array]) -> float:
    """Correlation of a filter's result with the truth, up to a factor that no filter changes.

    Parameters
    ----------
    apply
        the filter.
    blocks
        some of the volume, about its mean.
    probes
        for each block some noise like the volume's own.

    Notes
    -----
    With the volume y = s + n, ⟨f(y), s⟩ = ⟨f(y), y⟩ − ⟨f(y), n⟩. The last term has the expectation tr(∂f · C), C the
    noise's covariance, which is that of bᵀ (f(y + εb) − f(y)) / ε for a probe b of the same covariance: Stein's lemma
    with a random probe (Ramani, Blu & Unser 2008, IEEE Trans. Image Process. 17:1540), here for coloured noise. The
    mean squared error, which follows alike, would ask for less smoothing: it counts as a fault that a filter dims.
    """
    shared, power = 0.0, 0.0
    for block, probe in zip(blocks, probes, strict=True):
        inner = tuple(slice(_MARGIN, n - _MARGIN) if n > 4 * _MARGIN else slice(None) for n in block.shape)
        plain = apply(block)
        moved = (apply(block + np.float32(_PROBE) * probe) - plain)[inner] / _PROBE
        result = plain[inner]
        shared += float(np.vdot(result, block[inner])) - float(np.vdot(probe[inner], moved))
        power += float(np.vdot(result, result))
    return shared / np.sqrt(power) if power > 0 else -np.inf


def best_strength(
    filter_of: Callable[[float], Apply], first: float, bounds: tuple[float, float], blocks: Sequence[Array]
) -> float:
    """The strength of most likeness to the truth, as the noise lets it be estimated, by walking from a first guess.

    Parameters
    ----------
    filter_of
        gives the filter of a strength.
    first, bounds
        where to begin, and between which strengths to stay.
    blocks
        of the volume, in units of its noise, about its mean.
    """
    blocks = [block.clip(-_OUTLIER, _OUTLIER) for block in blocks]
    spectrum = NoiseSpectrum(np.stack(blocks))
    random = np.random.default_rng(0)
    probes = [spectrum.draw(block.shape, random) for block in blocks]
    known: dict[int, float] = {}

    def fault(step: int) -> float:
        if step not in known:
            known[step] = -estimated_likeness(filter_of(first * _STEP**step), blocks, probes)
        return known[step]

    lowest, highest = (int(np.trunc(np.log(bound / first) / np.log(_STEP))) for bound in bounds)
    here = 0
    while here < highest and fault(here + 1) < fault(here):
        here += 1
    while here > lowest and fault(here - 1) < fault(here):
        here -= 1
    if not lowest < here < highest:
        return first * float(_STEP**here)
    left, middle, right = fault(here - 1), fault(here), fault(here + 1)
    curve = left - 2 * middle + right
    return first * float(_STEP ** (here + (0.5 * (left - right) / curve if curve > 0 else 0.0)))


def _pieces(blocks: Array) -> Array:
    """``(m, a, b, c)`` small pieces that tile the blocks."""
    size = [min(_PIECE, n) for n in blocks.shape[1:]]
    starts = [range(0, n - edge + 1, edge) for n, edge in zip(blocks.shape[1:], size, strict=True)]
    return np.stack(
        [
            block[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]
            for block in blocks
            for start in product(*starts)
        ]
    )


def _spectrum(blocks: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequency of each shell, cycles/px, and the median of the power in it over small tapered pieces."""
    pieces = _pieces(blocks)
    shape = pieces.shape[1:]
    tapers = [np.hanning(n + 2)[1:-1] if n > 2 else np.ones(n) for n in shape]
    taper = (tapers[0][:, None, None] * tapers[1][None, :, None] * tapers[2]).astype(np.float32)
    shell = np.rint(_length(shape) * max(shape)).astype(int).ravel()
    count = max(shape) // 2 + 1
    twice = _twice(shape).ravel()
    number = np.bincount(shell, twice, minlength=count)[:count]
    powers = []
    for piece in pieces:
        terms = np.fft.rfftn((piece - piece.mean()) * taper)
        power = np.bincount(shell, (terms.real**2 + terms.imag**2).ravel() * twice, minlength=count)[:count]
        powers.append(power / np.maximum(number, 1) / float((taper**2).sum()))
    frequency = np.arange(count) / max(shape)
    typical: NDArray[np.float64] = np.median(powers, axis=0)
    if count > _FIRST_SHELL + 1:
        square = frequency**2
        curve = np.polyfit(square[_FIRST_SHELL:], np.log(typical[_FIRST_SHELL:] + np.finfo(float).tiny), 1)
        low = slice(0, _FIRST_SHELL)
        typical[low] = np.minimum(typical[low], np.exp(np.polyval(curve, square[low])))
        typical[0] = typical[1]  # the pieces have no mean
    return frequency, typical


def _twice(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """How often each sample of an rfft stands in the whole transform; the missing wedge is where it does so once."""
    columns = np.full(shape[-1] // 2 + 1, 2.0)
    columns[0] = 1.0
    if shape[-1] % 2 == 0:
        columns[-1] = 1.0
    return np.broadcast_to(columns, (*shape[:-1], len(columns)))


def _length(shape: tuple[int, ...]) -> NDArray[np.float64]:
    lines = [np.fft.fftfreq(n) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    square = sum(line**2 for line in np.meshgrid(*lines, indexing="ij"))
    out: NDArray[np.float64] = np.sqrt(square)
    return out
