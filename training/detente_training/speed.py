"""How fast a model reads, beside the bare encoder that it cannot be faster than."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any

import torch

from detente.documents import Paragraph, clean
from detente.encoding import Batch, batches, windows
from detente.errors import DataError, DetenteError
from detente.runtime import TorchRuntime
from detente.tagger import Tagger
from detente_training.labelled import LabelledParagraph

SAMPLE = 256  # paragraphs
ROUNDS = 3
_WARM_UP = 16  # paragraphs read before the clock runs


@dataclass(frozen=True, slots=True)
class Speed:
    """The result of a benchmark.

    Attributes:
        paragraphs, tokens: what was read in a round; padding is not counted.
        paragraphs_per_second: by `Tagger.tag_paragraphs`, from texts to tags; the median of the rounds.
        ratio: time of the tagger over that of the encoder's forward pass alone on the same batches; likewise.
        rounds: how often each was timed, in turns.
        device: "cpu", "cuda" or "mps".
        threads: processor threads of PyTorch.
    """

    paragraphs: int
    tokens: int
    paragraphs_per_second: float
    ratio: float
    rounds: int
    device: str
    threads: int

    @property
    def place(self) -> str:
        """What computed, in words: "2 CPU threads"."""
        if self.device != "cpu":
            return f"one device `{self.device}`"
        return f"{self.threads} CPU thread{'s' * (self.threads != 1)}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"place": self.place}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Speed:
        """Reads back what `to_dict` wrote; other keys are ignored.

        Raises:
            DataError: a key is missing.
        """
        absent = [item.name for item in fields(cls) if item.name not in data]
        if absent:
            raise DataError(f"these figures are no benchmark of speed: they lack {', '.join(absent)}")
        return cls(**{item.name: data[item.name] for item in fields(cls)})


def sample(paragraphs: Sequence[LabelledParagraph], size: int = SAMPLE) -> list[Paragraph]:
    """At most `size` paragraphs at even distances in the order of their ids: the same for the same data."""
    ordered = sorted(paragraphs, key=lambda p: p.id)
    size = min(size, len(ordered))
    chosen = [ordered[number * len(ordered) // size] for number in range(size)]
    return [Paragraph(clean(p.text)[0], p.id, p.document, number) for number, p in enumerate(chosen)]


def measure_speed(tagger: Tagger, paragraphs: Sequence[Paragraph], rounds: int = ROUNDS) -> Speed:
    """Times a tagger and, in turns, its encoder's forward pass over the very batches that the tagger reads.

    Args:
        tagger: one that computes with PyTorch.
        paragraphs: at most as many as the tagger batches together, 512.

    Raises:
        DataError: no paragraphs.
        DetenteError: the tagger computes with something else.
    """
    runtime, reader = tagger.reader.runtime, tagger.reader
    if not isinstance(runtime, TorchRuntime):
        raise DetenteError("the bare encoder can be timed only where PyTorch computes; load the model as a `Tagger`")
    if not paragraphs:
        raise DataError("there are no paragraphs to measure the speed on")
    cut = windows([p.text for p in paragraphs], reader.tokenizer, reader.window_tokens, reader.overlap_tokens)
    made = list(batches(cut, reader.tokenizer.pad_token_id or 0, reader.batch_tokens))
    tagger.tag_paragraphs(paragraphs[:_WARM_UP])
    _encode(runtime, made[-1:])
    times = [
        (_seconds(lambda: tagger.tag_paragraphs(paragraphs)), _seconds(lambda: _encode(runtime, made)))
        for _ in range(rounds)
    ]
    return Speed(
        paragraphs=len(paragraphs),
        tokens=sum(len(window) for window in cut),
        paragraphs_per_second=len(paragraphs) / median(tagging for tagging, _ in times),
        ratio=median(tagging / encoding for tagging, encoding in times),
        rounds=rounds,
        device=runtime.device.type,
        threads=torch.get_num_threads(),
    )


@torch.inference_mode()
def _encode(runtime: TorchRuntime, made: Sequence[Batch]) -> None:
    for batch in made:
        states = runtime.model.encoder(
            input_ids=torch.from_numpy(batch.input_ids).to(runtime.device),
            attention_mask=torch.from_numpy(batch.attention_mask).to(runtime.device),
        ).last_hidden_state
        states[0, 0, 0].item()  # a GPU is waited for


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
