"""Grey values of what `lamella convert` writes: one linear function, then the limits of the type."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.workflow.convert_plan import ConvertPlan
from lamella.workflow.convert_settings import ConvertSettings

__all__ = ["GreyValues"]

Array = NDArray[np.float32]

_PERCENT = (0.1, 99.9)
_SAMPLED = 1 << 16  # grey values per section that percentiles are taken from


class GreyValues:
    """The change of grey values: one linear function, then the type's limits."""

    def __init__(self, factor: float, offset: float, dtype: str, *, measured: bool) -> None:
        self.factor, self.offset, self.measured = factor, offset, measured
        self.limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
        self.clipped = 0

    @classmethod
    def of(cls, settings: ConvertSettings, plan: ConvertPlan, progress: Callable[[float], None]) -> GreyValues:
        """Measure what the settings need, in a pass over the output before it is written."""
        if not settings.invert and settings.grey == "":
            return cls(1.0, 0.0, settings.dtype, measured=False)
        measured = settings.invert or settings.grey in ("auto", "normalise")
        mean, deviation, percentiles = _measure(plan, progress) if measured else (0.0, 1.0, _PERCENT)
        factor, offset = (-1.0, 2 * mean) if settings.invert else (1.0, 0.0)
        if settings.grey == "normalise":
            if deviation == 0:
                raise ImageError(f"{plan.file.path} is constant", mend="there is nothing to normalise")
            return cls(factor / deviation, (offset - mean) / deviation, settings.dtype, measured=True)
        if settings.grey:
            low, high = percentiles if settings.grey == "auto" else map(float, settings.grey.split(","))
            if settings.grey == "auto" and settings.invert:
                low, high = offset - high, offset - low
            if low >= high:
                raise ImageError(f"{plan.file.path} is constant", mend="there is no range of grey values to stretch")
            whole = np.dtype(settings.dtype).kind in "iu"
            darkest, brightest = (_limits(settings.dtype)) if whole else (0.0, 1.0)
            stretch = (brightest - darkest) / (high - low)
            factor, offset = factor * stretch, (offset - low) * stretch + darkest
        return cls(factor, offset, settings.dtype, measured=measured)

    def __call__(self, section: Array) -> Array:
        """A section with its new grey values; counts what the type's limits clip."""
        if (self.factor, self.offset) != (1.0, 0.0):
            section = (section * np.float64(self.factor) + self.offset).astype(np.float32)
        if self.limits is None:
            return section
        rounded = np.rint(section)
        self.clipped += int(((rounded < self.limits.min) | (rounded > self.limits.max)).sum())
        return np.clip(rounded, self.limits.min, self.limits.max)


def _limits(dtype: str) -> tuple[float, float]:
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def _measure(plan: ConvertPlan, progress: Callable[[float], None]) -> tuple[float, float, tuple[float, float]]:
    """Mean, standard deviation and the percentiles of the output before its grey values are changed."""
    total = squares = 0.0
    count = 0
    samples = []
    for index, section in enumerate(plan.sections()):
        values = section.astype(np.float64).reshape(-1)
        total, squares, count = total + values.sum(), squares + (values**2).sum(), count + values.size
        samples.append(section.reshape(-1)[:: max(section.size // _SAMPLED, 1)])
        progress((index + 1) / plan.shape[0])
    mean = total / count
    low, high = np.percentile(np.concatenate(samples), _PERCENT)
    return mean, float(np.sqrt(max(squares / count - mean**2, 0.0))), (float(low), float(high))
