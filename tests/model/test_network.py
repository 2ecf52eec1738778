"""The network over every kind of encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import AutoConfig, AutoModel

from detente.codebook import Codebook
from detente.network import DetenteConfig, DetenteModel, MentionAttention

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
    logits = network.stance_logits(states, pooled, mentions, torch.ones(2, 4, dtype=torch.long))
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


# --- mention attention


@pytest.fixture
def attending(networks: Networks) -> DetenteModel:
    """A network over the tiny BERT whose stance head also reads what the mention finds."""
    with torch.random.fork_rng():
        torch.manual_seed(8)
        model = DetenteModel(DetenteConfig(encoder=networks("bert").config.encoder, mention_attention=True)).eval()
        for weight in (model.mention_attention.query.weight, model.mention_attention.key_value.weight):
            torch.nn.init.normal_(weight, std=0.5)  # as small as they start, each token would count the same
    return model


def test_mention_attention_is_off_unless_asked_for(networks: Networks, tmp_path: Path) -> None:
    assert DetenteConfig().mention_attention is False
    assert networks("bert").mention_attention is None
    assert not [name for name in networks("bert").state_dict() if "mention_attention" in name]
    # a configuration that was saved before there was any
    networks("bert").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    for key in ("mention_attention", "adapter"):
        config.pop(key, None)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    loaded = DetenteModel.from_pretrained(tmp_path)
    assert (loaded.mention_attention, loaded.config.adapter) == (None, None)
    assert set(loaded.state_dict()) == set(networks("bert").state_dict())


def test_mention_attention_is_saved_and_loaded(attending: DetenteModel, tmp_path: Path) -> None:
    attending.save_pretrained(tmp_path)
    loaded = DetenteModel.from_pretrained(tmp_path).eval()
    ids, mentions = torch.tensor([[0, 5, 6, 7, 1]]), torch.tensor([[[0, 1], [1, 3]]])
    with torch.inference_mode():
        assert torch.equal(loaded(ids, mentions=mentions).stances, attending(ids, mentions=mentions).stances)


@pytest.mark.parametrize(("width", "heads"), [(16, 1), (32, 1), (64, 1), (200, 3), (312, 4), (384, 6), (768, 12)])
@torch.inference_mode()
def test_mention_attention_has_heads_of_32_over_any_encoder(width: int, heads: int) -> None:
    attention = MentionAttention(width)
    assert attention.heads == heads
    assert attention.query.out_features == 32 * heads
    found = attention(torch.ones(2, 3, width), torch.ones(2, 5, width), torch.ones(2, 5, dtype=torch.long))
    assert found.shape == (2, 3, width)


@torch.inference_mode()
def test_mention_attention_by_hand() -> None:
    attention = MentionAttention(2)
    for weight in attention.parameters():
        weight.zero_()
    attention.query.weight[0, 0] = 32**0.5  # undoes the scale, so that a score is the product of first components
    attention.key_value.weight[0, 0] = 1  # key: the first component of a token
    attention.key_value.weight[32, 1] = 1  # value: the second
    attention.output.weight[0, 0] = 1
    mentions = torch.tensor([[[0.0, 9.0], [log(3), 9.0]]])
    states = torch.tensor([[[0.0, 10.0], [1.0, 20.0], [5.0, 1000.0]]])  # the last is padding
    found = attention(mentions, states, torch.tensor([[1, 1, 0]]))
    # scores 0 and 0: the mean of 10 and 20; scores 0 and log 3: a quarter and three quarters
    torch.testing.assert_close(found, torch.tensor([[[15.0, 0.0], [17.5, 0.0]]]))


@torch.inference_mode()
def test_mention_attention_sees_no_padding_and_no_neighbour(attending: DetenteModel) -> None:
    ids = torch.tensor([[0, 5, 6, 7, 8, 1]])
    other = torch.tensor([[0, 9, 8, 7, 6, 5, 4, 11, 12, 1]])
    alone = attending(ids, mentions=torch.tensor([[[1, 3]]])).stances[0, 0]
    both = torch.full((2, 16), 2)
    both[0, :6], both[1, :10] = ids[0], other[0]
    mask = (torch.arange(16) < torch.tensor([[6], [10]])).long()
    beside = attending(both, mask, torch.tensor([[[0, 1], [1, 3], [3, 5]], [[2, 9], [0, 0], [0, 0]]])).stances
    torch.testing.assert_close(beside[0, 1], alone, atol=1e-5, rtol=0)
    longer = attending(other, mentions=torch.tensor([[[2, 9]]])).stances[0, 0]
    torch.testing.assert_close(beside[1, 0], longer, atol=1e-5, rtol=0)
    assert torch.isfinite(beside).all()  # those of the empty spans that fill up a row too


@torch.inference_mode()
def test_what_the_mention_finds_counts(attending: DetenteModel) -> None:
    ids, mentions = torch.tensor([[0, 5, 6, 7, 1]]), torch.tensor([[[1, 2]]])
    before = attending(ids, mentions=mentions)
    attending.mention_attention.output.weight.zero_()
    after = attending(ids, mentions=mentions)
    assert torch.equal(after.voices, before.voices)
    assert (after.stances - before.stances).abs().max() > 1e-4


def test_gradients_reach_all_of_mention_attention(attending: DetenteModel) -> None:
    attending.train()
    output = attending(torch.tensor([[0, 5, 6, 7, 8, 1]]), mentions=torch.tensor([[[0, 1], [2, 4]]]))
    output.stances.square().sum().backward()
    for name, weight in attending.mention_attention.named_parameters():
        assert weight.grad.abs().sum() > 0, name
    key, value = attending.mention_attention.key_value.weight.grad.chunk(2)
    assert key.abs().sum() > 0
    assert value.abs().sum() > 0
    assert attending.encoder.embeddings.word_embeddings.weight.grad[7].abs().sum() > 0  # a token of no mention


def test_stances_from_two_independent_poles(networks: Networks) -> None:
    """mixed is both poles, neutral neither: the four probabilities are products and sum to one."""
    config = networks("bert").config.to_dict() | {"stance_by_poles": True}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = DetenteModel(DetenteConfig(**config)).eval()
    assert model.stance_head[-1].out_features == 2
    states, mask = torch.randn(1, 6, 32), torch.ones(1, 6, dtype=torch.long)
    mentions = torch.tensor([[[1, 3], [0, 1]]])
    logits = model.stance_logits(states, states.mean(1), mentions, mask)
    assert logits.shape == (1, 2, 4)
    engagement, pressure, mixed, neutral = logits.exp().unbind(-1)
    torch.testing.assert_close(engagement + pressure + mixed + neutral, torch.ones(1, 2))
    for_engagement, for_pressure = engagement + mixed, pressure + mixed
    torch.testing.assert_close(mixed, for_engagement * for_pressure)
    torch.testing.assert_close(neutral, (1 - for_engagement) * (1 - for_pressure))


# --- the stance pole by pole


@torch.inference_mode()
def test_a_stance_by_poles_is_the_product_over_its_poles(networks: Networks) -> None:
    assert DetenteConfig().stance_by_poles is False
    with torch.random.fork_rng():
        torch.manual_seed(8)
        model = DetenteModel(DetenteConfig(encoder=networks("bert").config.encoder, stance_by_poles=True)).eval()
    *_, last = model.stance_head
    assert last.out_features == 2
    last.weight.zero_()
    last.bias.copy_(torch.tensor([log(3), -log(4)]))  # engagement has probability 3/4, pressure 1/5
    logits = model(torch.tensor([[0, 5, 6, 1]]), mentions=torch.tensor([[[0, 1]]])).stances
    expected = [0.75 * 0.8, 0.25 * 0.2, 0.75 * 0.2, 0.25 * 0.8]  # engagement, pressure, mixed, neutral
    torch.testing.assert_close(logits.softmax(-1)[0, 0], torch.tensor(expected))
