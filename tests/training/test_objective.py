"""The losses, computed by hand."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from detente.network import DetenteOutput
from detente_training.dataset import IGNORED
from detente_training.objective import class_loss, losses, topic_loss

X = IGNORED


def test_topics_are_independent_questions() -> None:
    # -log sigmoid(2) for a yes, -log(1 - sigmoid(-1)) for a no
    loss = topic_loss(torch.tensor([[2.0, -1.0]]), torch.tensor([[1, 0]]))
    assert loss.item() == pytest.approx((log(1 + exp(-2)) + log(1 + exp(-1))) / 2)
    assert topic_loss(torch.zeros(2, 3), torch.tensor([[1, 0, 1], [X, X, 0]])).item() == pytest.approx(log(2))


def test_classes_are_exclusive() -> None:
    logits = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    right = log(exp(1) + 2) - 1
    assert class_loss(logits, torch.tensor([[0, X]])).item() == pytest.approx(right)
    assert class_loss(logits, torch.tensor([[0, 2]])).item() == pytest.approx((right + log(3)) / 2)


def test_half_precision_is_summed_in_float32() -> None:
    logits = torch.zeros(4096, 3, dtype=torch.bfloat16)
    loss = class_loss(logits, torch.zeros(4096, dtype=torch.long))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(log(3), rel=1e-6)


@pytest.mark.parametrize(("loss", "shape"), [(topic_loss, (2, 3)), (class_loss, (2, 4, 3)), (class_loss, (2, 4, 0))])
def test_nothing_labelled_is_nothing_learned(loss, shape) -> None:
    logits = torch.ones(shape, requires_grad=True)
    value = loss(logits, torch.full(shape if loss is topic_loss else shape[:-1], X))
    assert value.item() == 0
    value.backward()
    assert logits.grad.abs().sum().item() == 0


def test_no_topics_at_all() -> None:
    logits = torch.ones(2, 0, requires_grad=True)
    value = topic_loss(logits, torch.empty(2, 0, dtype=torch.long))
    assert value.item() == 0
    value.backward()


@pytest.mark.parametrize("loss", [topic_loss, class_loss])
def test_masked_labels_change_neither_loss_nor_gradient(loss) -> None:
    torch.manual_seed(1)
    logits = torch.randn(3, 4, requires_grad=True)
    labels = torch.randint(0, 2, (3, 4) if loss is topic_loss else (3,))
    value = loss(logits, labels)
    value.backward()
    more = torch.cat([logits.detach(), torch.full((2, 4), 50.0)]).requires_grad_()
    masked = torch.cat([labels, torch.full((2, *labels.shape[1:]), X)])
    same = loss(more, masked)
    same.backward()
    assert same.item() == pytest.approx(value.item(), rel=1e-6)
    torch.testing.assert_close(more.grad[:3], logits.grad)
    assert more.grad[3:].abs().sum().item() == 0


def test_each_head_has_its_own_mean() -> None:
    outputs = DetenteOutput(topics=torch.zeros(2, 3), voices=torch.zeros(2, 16, 3), stances=torch.zeros(2, 1, 4))
    batch = {
        "topic_labels": torch.tensor([[0, 1, X], [X, X, X]]),
        "voice_labels": torch.tensor([[1, *[X] * 15], [0, 0, *[X] * 14]]),
        "stance_labels": torch.tensor([[3], [X]]),
    }
    found = {name: value.item() for name, value in losses(outputs, batch).items()}
    assert found == pytest.approx({"topics": log(2), "voices": log(3), "stance": log(4)})
    batch["stance_labels"][0] = X
    assert losses(outputs, batch)["stance"].item() == 0
