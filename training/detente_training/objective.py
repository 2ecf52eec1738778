"""What training minimises: one mean per head over the labels that are there, weighted and added."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from detente_training.dataset import IGNORED


def topic_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy over labelled topics; logits and labels (B, K). 0 where nothing is labelled."""
    known = labels != IGNORED
    loss = functional.binary_cross_entropy_with_logits(logits.float(), labels.clamp(min=0).float(), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over labelled positions; logits (..., C), labels (...). 0 where nothing is labelled.

    No class weights: they bend the probabilities that the paragraph's stance is computed from.
    """
    total = functional.cross_entropy(
        logits.float().flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / (labels != IGNORED).sum().clamp(min=1)


def soft_topic_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy against probabilities; logits and targets (B, K), a target under 0 is none."""
    known = targets >= 0
    loss = functional.binary_cross_entropy_with_logits(logits.float(), targets.clamp(min=0), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def soft_class_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy against distributions, each weighted by its sum; logits and targets (..., C).

    Zeros are no target; a mention that the teacher doubts counts by its probability.
    """
    loss = -(targets * functional.log_softmax(logits.float(), dim=-1)).sum()
    return loss / targets.sum().clamp(min=1e-6)


def soft_losses(outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Loss of each head (scalars) against a teacher's probabilities; empty where the batch has none."""
    if "soft_topics" not in batch:
        return {}
    return {
        "topics": soft_topic_loss(outputs["topics"], batch["soft_topics"]),
        "voices": soft_class_loss(outputs["voices"], batch["soft_voices"]),
        "stance": soft_class_loss(outputs["stances"], batch["soft_stances"]),
    }


def losses(outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Loss of each head (scalars) for the outputs of `DetenteModel` on a collated batch."""
    return {
        "topics": topic_loss(outputs["topics"], batch["topic_labels"]),
        "voices": class_loss(outputs["voices"], batch["voice_labels"]),
        "stance": class_loss(outputs["stances"], batch["stance_labels"]),
    }
