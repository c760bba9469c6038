"""How much the stage and the lenses scatter, learned from how far the measurements fall from what was expected."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Scatter"]


@dataclass
class Scatter:
    """A variance that begins with a belief and follows the mean of what is seen.

    Attributes
    ----------
    variance
        as known now.
    weight
        for how many samples the belief counts.
    least, most
        it stays between these parts of the variance believed at first.
    """

    variance: float
    weight: float
    least: float = 0.1
    most: float = 10.0

    def __post_init__(self) -> None:
        self._bounds = (self.least * self.variance, self.most * self.variance)
        self._sum = self.weight * self.variance
        self._count = self.weight

    @property
    def sd(self) -> float:
        """Its root."""
        return float(self.variance**0.5)

    def see(self, square: float, known: float) -> None:
        """Take in the square of a difference, of which `known` is explained by something else.

        Squares far beyond what is believed are cut: one wrong measurement must not make all others worthless.
        """
        cut = min(square, 9.0 * (known + self.variance))
        self._sum += cut - known
        self._count += 1.0
        self.variance = min(max(self._sum / self._count, self._bounds[0]), self._bounds[1])
