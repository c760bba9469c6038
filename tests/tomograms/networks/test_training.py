"""Training: it learns, stops, keeps to its budget, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tomograms.networks.scenes import blobs, halves, likeness, noisy, settings, training_set

from lamella.errors import InputError, PostconditionError
from lamella.records import ArrayVolume
from lamella.tomograms import DenoiseSettings, denoise, train
from lamella.tomograms.networks import training
from lamella.tomograms.networks.checkpoint import Epoch, read_model, write_model


def applied(volume: np.ndarray, model, **how) -> np.ndarray:
    out = ArrayVolume(np.full(volume.shape, np.nan, np.float32))
    denoise(ArrayVolume(volume), DenoiseSettings(method=model.method, **how), out, model=model)
    return out.array


def test_noise2noise_is_closer_to_the_truth_on_a_tomogram_that_it_never_saw():
    _truth, first, second = halves()
    model = train([training_set(first, second)], settings(epochs=4))
    truth, other_first, other_second = halves(seed=7)
    before = likeness(other_first + other_second, truth)
    after = likeness(applied(other_first, model) + applied(other_second, model), truth)
    assert after > before + 0.2
    assert model.curve[-1].held_out < model.curve[0].held_out
    assert model.trained_on == ("TS",)
    assert model.state is None


def test_noise2void_learns_from_one_volume_with_correlated_noise():
    truth = blobs((32, 72, 72))
    first = noisy(truth, 2.0, 3, colour_px=(0.7, 0.5, 0.5))
    model = train([training_set(first)], settings("n2v", epochs=4))
    assert likeness(applied(first, model), truth) > likeness(first, truth) + 0.1


def test_the_wedge_is_filled_with_what_belongs_there():
    """Where nothing was measured the restored volume has something, and it is like the truth."""
    truth = blobs((48, 72, 72))
    kz, kx = np.fft.fftfreq(48)[:, None, None], np.fft.rfftfreq(72)[None, None]
    seen = np.abs(np.rad2deg(np.arctan2(kz, kx))) <= 60
    first, second = (
        np.fft.irfftn(np.fft.rfftn(noisy(truth, 0.5, seed)) * seen, s=truth.shape, axes=(0, 1, 2)).astype(np.float32)
        for seed in (1, 2)
    )
    model = train([training_set(first, second)], settings("wedge", epochs=6))
    out = applied(first, model) + applied(second, model)

    def unseen(volume):
        return np.fft.irfftn(np.fft.rfftn(volume) * ~seen, s=volume.shape, axes=(0, 1, 2))

    assert unseen(out).std() > 10 * unseen(first).std()
    assert likeness(unseen(out), unseen(truth)) > 0.2


def test_a_killed_training_ends_as_one_that_was_not(tmp_path):
    _truth, first, second = halves()
    sets, how = [training_set(first, second)], settings(epochs=4)
    whole = train(sets, how)
    kept = []

    class KilledError(Exception):
        pass

    def keep(model):
        kept.append(model)
        write_model(tmp_path / "training.pt", model)
        if len(kept) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(sets, how, keep=keep)
    later = []
    resumed = train(sets, how, start=read_model(tmp_path / "training.pt"), keep=later.append)
    assert len(later) == 2
    assert [(e.number, e.loss, e.held_out) for e in resumed.curve] == [
        (e.number, e.loss, e.held_out) for e in whole.curve
    ]
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)
    other = train(sets, settings(epochs=3), start=read_model(tmp_path / "training.pt"))
    assert [e.number for e in other.curve] == [1, 2, 3]


def test_the_same_seed_gives_the_same_network():
    _truth, first, second = halves()
    one, two, three = (train([training_set(first, second)], settings(epochs=1, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one.weights["last.weight"], two.weights["last.weight"])
    assert not torch.equal(one.weights["last.weight"], three.weights["last.weight"])


def test_it_stops_when_what_is_held_out_gets_no_better(monkeypatch):
    _truth, first, second = halves()
    losses = iter([2.0, 1.0, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5])
    monkeypatch.setattr(training._Course, "_judge", lambda self: next(losses))
    monkeypatch.setattr(training._Task, "steps", property(lambda self: 1))
    model = train([training_set(first, second)], settings(epochs=9))
    assert [epoch.held_out for epoch in model.curve] == [2.0, 1.0] + [1.5] * 5
    assert model.best == Epoch(2, model.curve[1].loss, 1.0, model.curve[1].seconds)


def test_minutes_end_it():
    _truth, first, second = halves()
    told = []
    model = train(
        [training_set(first, second)],
        settings(epochs=1000, minutes=0.02),
        progress=lambda fraction, text="": told.append((fraction, text)),
    )
    assert 1 <= len(model.curve) < 100
    assert told[-1] == (1.0, "")
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert told[0][1].startswith("training, epoch 1")


def test_a_batch_in_parts_is_the_same_step(monkeypatch):
    _truth, first, second = halves()
    sets = [training_set(first, second)]
    whole = train(sets, settings(epochs=1))
    monkeypatch.setattr(training._Course, "_parts", lambda self: 2)
    parts = train(sets, settings(epochs=1))
    assert torch.allclose(whole.weights["last.weight"], parts.weights["last.weight"], atol=1e-4)


def test_a_thin_tomogram_is_halved_in_its_plane_only():
    _truth, first, second = halves((10, 72, 72))
    model = train([training_set(first, second)], settings(depth=3, epochs=1))
    assert model.architecture.flat == 1
    assert model.architecture.align == (2, 4, 4)
    assert applied(first, model).shape == first.shape


def test_what_cannot_be_trained_on_is_refused_in_words():
    _truth, first, second = halves()
    one = training_set(first, second)
    for sets, how, words in (
        ([], settings(), "no tomogram to train on"),
        ([one], DenoiseSettings(), "nad trains no network"),
        ([training_set(first)], settings("n2n"), "n2n wants both halves"),
        ([training_set(first)], settings("wedge"), "wedge wants both halves"),
        ([one, training_set(first, second, name="B", voxel_size_ang=12.0)], settings(), "10 Å and those of B 12 Å"),
        ([one, training_set(first, second, name="B", bright_field=False)], settings(), "mass is dark in one"),
    ):
        with pytest.raises(InputError, match=words):
            train(sets, how)


def test_a_training_that_diverges_says_so(monkeypatch):
    _truth, first, second = halves()
    monkeypatch.setattr(training._Course, "_judge", lambda self: float("nan"))
    with pytest.raises(PostconditionError, match="diverged in epoch 1"):
        train([training_set(first, second)], settings())
