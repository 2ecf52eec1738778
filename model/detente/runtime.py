"""One forward pass over a batch, whatever computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from detente.decoding import Mention, WindowLogits
from detente.encoding import Batch, Window
from detente.errors import DetenteError
from detente.network import DetenteModel

FindMentions = Callable[[npt.NDArray[np.float32], Window], Sequence[Mention]]


class Runtime(Protocol):
    """Whatever turns a batch into logits.

    `find` chooses, from the voice logits (T, 3) of a window, the mentions whose stance is wanted.
    """

    def forward(self, batch: Batch, find: FindMentions) -> list[WindowLogits]: ...


def choose_device(name: str = "auto") -> torch.device:
    """The device to compute on: "auto" takes a CUDA GPU, else Apple's MPS, else the CPU.

    Raises:
        DetenteError: the device is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # one that computes: `meta` does not
    except (RuntimeError, AssertionError) as error:
        raise DetenteError(f"no device `{name}` on this machine; use auto, cpu, cuda, cuda:1, … or mps") from error
    return device


class TorchRuntime:
    """PyTorch in float32. The model is put into evaluation mode; reading from several threads is safe."""

    def __init__(self, model: DetenteModel, device: torch.device | None = None) -> None:
        self.device = device or choose_device("cpu")
        self.model = model.eval()  # type: ignore[no-untyped-call]
        self.model.to(self.device)

    @torch.inference_mode()
    def forward(self, batch: Batch, find: FindMentions) -> list[WindowLogits]:
        attention_mask = torch.from_numpy(batch.attention_mask).to(self.device)
        output = self.model(input_ids=torch.from_numpy(batch.input_ids).to(self.device), attention_mask=attention_mask)
        topics = output.topics.float().cpu().numpy()  # (B, K)
        voices = output.voices.float().cpu().numpy()  # (B, T, 3)
        mentions = [tuple(find(voices[row], window)) for row, window in enumerate(batch.windows)]
        spans = np.zeros((len(mentions), max(1, *(len(found) for found in mentions)), 2), dtype=np.int64)  # (B, M, 2)
        for row, found in enumerate(mentions):
            for column, mention in enumerate(found):
                spans[row, column] = mention.first, mention.end
        asked = torch.from_numpy(spans).to(self.device)
        stances = self.model.stance_logits(output.states, output.pooled, asked, attention_mask)
        stances = stances.float().cpu().numpy()  # (B, M, S)
        return [
            WindowLogits(topics[row].astype(np.float64), found, stances[row, : len(found)].astype(np.float64))
            for row, found in enumerate(mentions)
        ]
