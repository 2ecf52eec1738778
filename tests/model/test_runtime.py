"""Devices, and one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from detente.decoding import Mention
from detente.encoding import batches, windows
from detente.errors import DetenteError
from detente.network import DetenteModel
from detente.runtime import TorchRuntime, choose_device

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@pytest.mark.parametrize("name", ["cuda:99", "nonsense", "", "meta", "cpu:x", "mps:99"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(DetenteError, match=f"no device `{name}` on this machine; use auto, cpu, cuda"):
        choose_device(name)


def test_auto_is_a_device_that_works() -> None:
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2
    assert choose_device("cpu") == torch.device("cpu")


def test_a_forward_pass_gives_what_the_network_says(
    networks: Callable[[str], DetenteModel], tokenizers: Callable[[str], PreTrainedTokenizerFast]
) -> None:
    network, tokenizer = DetenteModel(networks("bert").config), tokenizers("bert")
    network.load_state_dict(networks("bert").state_dict())
    network.train()
    runtime = TorchRuntime(network)
    assert not network.training
    cut = windows(["Two soldiers were wounded", "Officials hope"], tokenizer, size=32, overlap=4)
    (batch,) = batches(cut, tokenizer.pad_token_id, max_tokens=64)
    asked = {4: [Mention(0, 1, 1.0), Mention(1, 3, 1.0)], 2: []}

    def find(logits: np.ndarray, window: object) -> list[Mention]:
        assert logits.shape == (16, 3)
        return asked[int(window.heads.sum())]  # type: ignore[attr-defined]

    first, second = runtime.forward(batch, find)
    with torch.inference_mode():
        alone = network(torch.from_numpy(cut[0].input_ids)[None], mentions=torch.tensor([[[0, 1], [1, 3]]]))
    assert first.topics.dtype == np.float64
    np.testing.assert_allclose(first.topics, alone.topics[0], atol=1e-5)
    np.testing.assert_allclose(first.stances, alone.stances[0], atol=1e-5)
    assert first.mentions == (Mention(0, 1, 1.0), Mention(1, 3, 1.0))
    assert second.mentions == ()
    assert second.stances.shape == (0, 4)
