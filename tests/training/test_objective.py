"""The losses, computed by hand."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from detente.network import DetenteOutput
from detente_training.dataset import IGNORED
from detente_training.objective import (
    class_loss,
    losses,
    soft_class_loss,
    soft_losses,
    soft_topic_loss,
    topic_loss,
)

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


# --- soft labels


def test_soft_topics_by_hand() -> None:
    # -(0.75 log sigmoid(2) + 0.25 log(1 - sigmoid(2))) and the same for 0.5 at -1; a target under 0 is none
    yes, no = log(1 + exp(-2)), log(1 + exp(2))
    half = (log(1 + exp(1)) + log(1 + exp(-1))) / 2
    logits = torch.tensor([[2.0, -1.0], [7.0, 7.0]])
    loss = soft_topic_loss(logits, torch.tensor([[0.75, 0.5], [-1.0, -1.0]]))
    assert loss.item() == pytest.approx((0.75 * yes + 0.25 * no + half) / 2)


def test_soft_classes_by_hand() -> None:
    # log-probabilities of the first position: 1 - z, -z, -z; of the second: all -log 3
    z = log(exp(1) + 2)
    logits = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]])
    certain = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])
    assert soft_class_loss(logits, certain).item() == pytest.approx((z - 0.5 + log(3)) / 2)
    # a mention that the teacher doubts counts by its probability
    doubted = torch.tensor([[[0.0, 0.25, 0.0], [0.5, 0.25, 0.0], [0.0, 0.0, 0.0]]])
    assert soft_class_loss(logits, doubted).item() == pytest.approx((0.25 * z + 0.75 * log(3)) / (0.25 + 0.75))


def test_certain_soft_labels_are_labels() -> None:
    torch.manual_seed(2)
    logits, labels = torch.randn(4, 6, 3), torch.randint(0, 3, (4, 6))
    labels[0, :3] = labels[2] = X
    targets = torch.nn.functional.one_hot(labels.clamp(min=0), 3).float() * (labels != X).unsqueeze(-1)
    torch.testing.assert_close(soft_class_loss(logits, targets), class_loss(logits, labels))
    logits, labels = torch.randn(4, 3), torch.randint(0, 2, (4, 3))
    labels[1] = X
    targets = labels.clamp(min=-1).float()
    torch.testing.assert_close(soft_topic_loss(logits, targets), topic_loss(logits, labels))


def test_soft_labels_are_matched_exactly_at_the_least_loss() -> None:
    targets = torch.tensor([[0.5, 0.25, 0.25]])
    logits = targets.log().requires_grad_()
    loss = soft_class_loss(logits, targets)
    assert loss.item() == pytest.approx(1.5 * log(2))  # the entropy of the teacher
    loss.backward()
    assert logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("loss", "shape", "nothing"),
    [(soft_topic_loss, (2, 3), -1.0), (soft_class_loss, (2, 4, 3), 0.0), (soft_class_loss, (2, 1, 0), 0.0)],
)
def test_nothing_taught_is_nothing_learned(loss, shape, nothing) -> None:
    logits = torch.ones(shape, requires_grad=True)
    value = loss(logits, torch.full(shape, nothing))
    assert value.item() == 0
    value.backward()
    assert logits.grad.abs().sum().item() == 0


@pytest.mark.parametrize(("loss", "nothing"), [(soft_topic_loss, -1.0), (soft_class_loss, 0.0)])
def test_masked_targets_change_neither_loss_nor_gradient(loss, nothing) -> None:
    torch.manual_seed(1)
    logits = torch.randn(3, 4, requires_grad=True)
    targets = torch.rand(3, 4)
    value = loss(logits, targets)
    value.backward()
    more = torch.cat([logits.detach(), torch.full((2, 4), 50.0)]).requires_grad_()
    same = loss(more, torch.cat([targets, torch.full((2, 4), nothing)]))
    same.backward()
    assert same.item() == pytest.approx(value.item(), rel=1e-6)
    torch.testing.assert_close(more.grad[:3], logits.grad)
    assert more.grad[3:].abs().sum().item() == 0


def test_soft_losses_are_float32() -> None:
    logits = torch.zeros(4096, 3, dtype=torch.bfloat16)
    loss = soft_class_loss(logits, torch.full((4096, 3), 1 / 3))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(log(3), rel=1e-5)
    assert soft_topic_loss(logits, torch.full((4096, 3), 0.5)).item() == pytest.approx(log(2), rel=1e-6)


def test_each_head_has_its_own_soft_mean() -> None:
    outputs = DetenteOutput(topics=torch.zeros(2, 3), voices=torch.zeros(2, 16, 3), stances=torch.zeros(2, 1, 4))
    batch = {
        "soft_topics": torch.tensor([[0.5, 0.25, 0.0], [-1.0, -1.0, -1.0]]),
        "soft_voices": torch.zeros(2, 16, 3),
        "soft_stances": torch.tensor([[[0.0, 0.5, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]),
    }
    batch["soft_voices"][0, :5] = torch.tensor([0.5, 0.25, 0.25])
    found = {name: value.item() for name, value in soft_losses(outputs, batch).items()}
    assert found == pytest.approx({"topics": log(2), "voices": log(3), "stance": log(4)})
    assert soft_losses(outputs, {"topic_labels": torch.zeros(2, 3)}) == {}
