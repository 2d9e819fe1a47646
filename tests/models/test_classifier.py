import pytest
import torch

from minilib.models.classifier import (
    DigitClassifier,
    accuracy,
    classification_loss,
    jitter,
)
from minilib.train import Draw, generator


def draw(total, rows=None):
    return Draw(generator(0, 0), rows or slice(0, total), total)


def test_shapes():
    model, x = DigitClassifier(), torch.zeros(3, 1, 28, 28)
    assert model.features(x).shape == (3, 128)
    assert model(x).shape == (3, 10)
    with pytest.raises(ValueError, match="expected a floating-point x"):
        model(torch.zeros(3, 1, 32, 32))


def test_accuracy_counts_hits():
    y = torch.tensor([0, 1, 2, 3])
    logits = torch.eye(10)[torch.tensor([0, 1, 2, 9])]
    assert accuracy(lambda x: logits.to(x), torch.zeros(4, 1), y) == 0.75


def test_jitter_moves_ink_but_little_and_brings_in_paper():
    x = -torch.ones(64, 1, 28, 28)
    x[:, :, 10:18, 10:18] = 1
    out = jitter(x, draw(64))
    ink = (out + 1).sum(dim=(1, 2, 3)) / 2
    assert out.min() >= -1
    assert out.max() <= 1.0001
    # area changes by (1 ± 0.12)² at most
    assert torch.all((ink > 64 * 0.7) & (ink < 64 * 1.4))
    assert (out - x).abs().mean() > 0.01
    assert torch.equal(out[:, :, 0], -torch.ones(64, 1, 28))


def test_jitter_without_amplitude_is_the_identity():
    x = torch.rand(4, 1, 28, 28) * 2 - 1
    assert torch.allclose(jitter(x, draw(4), degrees=0, shift=0, zoom=0), x, atol=1e-4)


def test_jitter_of_a_half_batch_is_half_the_jitter_of_the_whole():
    x = torch.rand(6, 1, 28, 28) * 2 - 1
    whole = jitter(x, draw(6))
    assert torch.allclose(jitter(x[3:], draw(6, slice(3, 6))), whole[3:], atol=1e-6)


def test_loss_falls_when_the_logits_are_right():
    x, y = torch.zeros(4, 1, 28, 28), torch.tensor([1, 2, 3, 4])
    right = lambda x: 5 * torch.eye(10)[y]  # noqa: E731
    wrong = lambda x: 5 * torch.eye(10)[y - 1]  # noqa: E731
    assert (
        classification_loss(right, x, y, draw(4))
        < 1
        < classification_loss(wrong, x, y, draw(4))
    )


@pytest.mark.parametrize("bad", [-100, -1, 10])
def test_labels_of_no_class_are_refused(bad):
    """-100 would be left out of the loss."""
    with pytest.raises(
        ValueError, match=rf"expected labels y from 0 to 9, got .*{bad}"
    ):
        classification_loss(
            DigitClassifier(),
            torch.zeros(2, 1, 28, 28),
            torch.tensor([3, bad]),
            draw(2),
        )


def test_labels_that_would_broadcast_have_no_accuracy():
    with pytest.raises(ValueError, match=r"labels y of shape \(2,\), got \(2, 1\)"):
        accuracy(torch.nn.Flatten(), torch.eye(2), torch.tensor([[0], [1]]))
