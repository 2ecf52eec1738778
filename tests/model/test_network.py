"""The network over every kind of encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import AutoConfig, AutoModel

from detente.codebook import Codebook
from detente.network import DetenteConfig, DetenteModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Networks = Callable[[str], DetenteModel]
TEXT = "The envoy urged the government to keep up the pressure."


@pytest.fixture
def network(kind: str, networks: Networks) -> DetenteModel:
    return networks(kind)


@pytest.fixture
def ids(kind: str, tokenizers: Callable[[str], PreTrainedTokenizerFast]) -> torch.Tensor:
    """Token ids of a sentence, (1, T)."""
    return torch.tensor([tokenizers(kind)(TEXT)["input_ids"]])


def test_shapes(network: DetenteModel, ids: torch.Tensor) -> None:
    length = ids.shape[1]
    output = network(ids.repeat(2, 1), mentions=torch.tensor([[[0, 1], [2, 4], [0, 0]]] * 2))
    assert output.topics.shape == (2, 3)
    assert output.voices.shape == (2, length, 3)
    assert output.stances.shape == (2, 3, 4)
    assert output.states.shape == (2, length, 32)
    assert output.pooled.shape == (2, 32)
    assert network(ids).stances is None
    topics, voices, states, pooled = network(ids, return_dict=False)
    assert (topics.shape, voices.shape) == ((1, 3), (1, length, 3))
    assert (states.shape, pooled.shape) == ((1, length, 32), (1, 32))


@torch.inference_mode()
def test_padding_changes_nothing(network: DetenteModel, ids: torch.Tensor) -> None:
    pad = network.encoder.config.pad_token_id
    length = ids.shape[1]
    padded = torch.cat([ids, torch.full((1, 13), pad)], dim=1)
    mask = (torch.arange(length + 13) < length).long().unsqueeze(0)
    mentions = torch.tensor([[[0, 1], [1, 4]]])
    alone, beside = network(ids, mentions=mentions), network(padded, mask, mentions)
    torch.testing.assert_close(beside.topics, alone.topics, atol=1e-5, rtol=0)
    torch.testing.assert_close(beside.voices[:, :length], alone.voices, atol=1e-5, rtol=0)
    torch.testing.assert_close(beside.stances, alone.stances, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_saved_network_gives_the_same_logits(network: DetenteModel, ids: torch.Tensor, tmp_path: Path) -> None:
    network.save_pretrained(tmp_path)
    mentions = torch.tensor([[[0, 1], [1, 4]]])
    before = network(ids, mentions=mentions)
    for loaded in (DetenteModel.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert isinstance(loaded, DetenteModel)
        after = loaded.eval()(ids, mentions=mentions)
        for name in ("topics", "voices", "stances"):
            assert torch.equal(after[name], before[name]), name


def test_the_auto_classes_know_it(networks: Networks, tmp_path: Path) -> None:
    network = networks("bert")
    network.config.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, DetenteConfig)
    assert (config.window_tokens, config.overlap_tokens, config.head_dropout) == (64, 16, 0.1)
    assert Codebook.from_dict(config.codebook).hash == Codebook.default().hash
    assert config.encoder_config().model_type == "bert"
    assert config.encoder_config().hidden_size == 32
    assert isinstance(AutoModel.from_config(config), DetenteModel)


def test_the_pooler_of_the_encoder_is_left_out(networks: Networks) -> None:
    assert networks("bert").encoder.pooler is None
    assert not [name for name in networks("bert").state_dict() if "pooler" in name]


def test_heads_are_as_wide_as_the_codebook(networks: Networks) -> None:
    codebook = Codebook.from_dict(
        {
            "version": 1,
            "topics": [{"name": "water"}],
            "poles": [{"name": "for_it"}, {"name": "against_it"}, {"name": "later"}],
            "stances": [{"name": "nothing"}, {"name": "yes", "poles": ["for_it"]}],
        }
    )
    config = DetenteConfig(encoder=networks("bert").config.encoder, codebook=codebook.to_dict())
    output = DetenteModel(config)(torch.tensor([[0, 5, 6, 1]]), mentions=torch.tensor([[[1, 3]]]))
    assert output.topics.shape == (1, 1)
    assert output.stances.shape == (1, 1, 2)


@torch.inference_mode()
def test_stance_logits_are_those_of_mean_mention_and_paragraph(networks: Networks) -> None:
    network = networks("bert")
    states = torch.arange(2 * 4 * 32, dtype=torch.float32).reshape(2, 4, 32).sin()
    pooled = states.mean(1)
    mentions = torch.tensor([[[0, 1], [1, 4]], [[2, 3], [0, 0]]])
    logits = network.stance_logits(states, pooled, mentions)
    assert logits.shape == (2, 2, 4)
    by_hand = [
        [states[0, 0], (states[0, 1] + states[0, 2] + states[0, 3]) / 3],
        [states[1, 2], torch.zeros(32)],  # a mention without tokens is read from the paragraph alone
    ]
    first, _, _, last = network.stance_head
    for row in range(2):
        for column in range(2):
            both = torch.cat([by_hand[row][column], pooled[row]])
            hidden = torch.nn.functional.gelu(first.weight @ both + first.bias)
            torch.testing.assert_close(logits[row, column], last.weight @ hidden + last.bias, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_pooled_state_is_the_mean_of_what_is_no_padding(networks: Networks) -> None:
    output = networks("bert")(torch.tensor([[0, 7, 1, 2, 2]]), torch.tensor([[1, 1, 1, 0, 0]]))
    torch.testing.assert_close(output.pooled[0], output.states[0, :3].mean(0))


def test_a_network_can_be_trained(network: DetenteModel, ids: torch.Tensor) -> None:
    copy = DetenteModel(network.config).train()
    output = copy(ids, mentions=torch.tensor([[[0, 1]]]))
    (output.topics.sum() + output.voices.sum() + output.stances.sum()).backward()
    without = {name for name, weight in copy.named_parameters() if weight.grad is None}
    assert not without
