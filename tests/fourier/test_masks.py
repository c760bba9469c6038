from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.fourier import edge_taper, per_image, power_spectrum, soft_mask, taper_edges


@pytest.mark.parametrize("shape", [(32, 32), (31, 40), (20, 21, 22)])
def test_soft_mask_by_distance(shape: tuple[int, ...]) -> None:
    mask = soft_mask(shape, 6, 4).numpy()
    places = np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij")
    distance = np.sqrt(sum(p.astype(float) ** 2 for p in places))
    assert np.all(mask[distance <= 6] == 1)
    assert np.all(mask[distance >= 10] < 1e-6)
    assert np.all(np.diff(mask.ravel()[np.argsort(distance, axis=None)]) <= 1e-6)
    np.testing.assert_allclose(mask[distance == 8], 0.5, atol=1e-6)


def test_sharp_mask_elsewhere() -> None:
    mask = soft_mask((10, 10), 1.0, 0, centre_px=(2, 3))
    assert mask.sum() == 5
    assert mask[2, 3] == 1
    assert mask[2, 4] == 1


def test_taper_keeps_the_inside_and_meets_at_the_edges(rng: np.random.Generator) -> None:
    image = torch.as_tensor(rng.normal(size=(2, 40, 50)) + np.linspace(0, 30, 50))
    out = taper_edges(image, 8)
    assert torch.allclose(out[:, 8:-8, 8:-8], image[:, 8:-8, 8:-8], atol=1e-12)
    jump = (out[:, :, 0] - out[:, :, -1]).abs().max()
    assert jump < 0.02 * (image[:, :, 0] - image[:, :, -1]).abs().max()
    # the cross that wrapping edges draw through the spectrum is gone
    assert power_spectrum(out)[:, 0, 20:].mean() < 0.2 * power_spectrum(image)[:, 0, 20:].mean()


def test_taper_is_symmetric() -> None:
    window = edge_taper((9, 14), 4)
    assert torch.allclose(window, window.flip(0).flip(1))
    assert window[4, 7] == 1
    assert torch.all(edge_taper((9, 14), 0) == 1)


def test_chunks_see_every_image_once(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    import lamella.fourier.chunks as chunks

    monkeypatch.setattr(chunks, "_PIXELS_ON_CPU", 3 * 20)
    stack = torch.as_tensor(rng.normal(size=(2, 4, 4, 5)))
    sizes = []

    def operation(part: torch.Tensor) -> torch.Tensor:
        sizes.append(len(part))
        return part.sum(dim=-1)

    assert torch.equal(per_image(operation, stack, 2), stack.sum(dim=-1))
    assert sizes == [3, 3, 2]
