"""The network: one encoder, and three heads on its token states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from detente.codebook import Codebook

OUTSIDE, BEGIN, INSIDE = 0, 1, 2  # classes of the voice head
NARRATOR_TOKEN = 0  # the narrator is the voice whose mention is the first token


class DetenteConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """Architecture and label sets of a `DetenteModel`.

    Args:
        encoder: configuration of the encoder, as `AutoConfig` writes it (with its `model_type`).
        codebook: the codebook as a mapping; None is the built-in one.
        window_tokens, overlap_tokens: how long paragraphs are cut, in tokens.
        head_dropout: dropout before each head while training, in [0, 1).
        mention_attention: whether the stance head also reads what a query from the mention finds among the tokens;
            without it, it reads the mention and the mean of the paragraph alone.
        stance_by_poles: whether the stance head gives one logit for each pole, taken as independent, from which those
            of the stances follow; without it, one for each stance.
        adapter: for a model saved without its encoder's weights, which encoder that is and which of its layers have
            adapters (`detente.adapter`); None where the weights are complete.
    """

    model_type = "detente"

    def __init__(
        self,
        encoder: Mapping[str, Any] | None = None,
        codebook: Mapping[str, Any] | None = None,
        window_tokens: int = 384,
        overlap_tokens: int = 64,
        head_dropout: float = 0.1,
        mention_attention: bool = False,
        stance_by_poles: bool = False,
        adapter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.encoder = dict(encoder) if encoder is not None else {"model_type": "bert"}
        self.codebook = dict(codebook) if codebook is not None else Codebook.default().to_dict()
        self.window_tokens = window_tokens
        self.overlap_tokens = overlap_tokens
        self.head_dropout = head_dropout
        self.mention_attention = mention_attention
        self.stance_by_poles = stance_by_poles
        self.adapter = None if adapter is None else dict(adapter)
        super().__init__(**kwargs)

    def encoder_config(self) -> PretrainedConfig:
        """The encoder's own configuration object."""
        values = dict(self.encoder)
        return AutoConfig.for_model(values.pop("model_type"), **values)


@dataclass
class DetenteOutput(ModelOutput):
    """What a forward pass gives.

    Attributes:
        topics: logits, (B, K).
        voices: logits of outside, begin, inside, (B, T, 3).
        stances: logits for the mentions that were asked for, (B, M, S); None if none were.
        states: token states, (B, T, D).
        pooled: mean of the token states that are no padding, (B, D).
    """

    topics: Tensor | None = None
    voices: Tensor | None = None
    stances: Tensor | None = None
    states: Tensor | None = None
    pooled: Tensor | None = None


class MentionAttention(nn.Module):
    """What a mention finds among the tokens: multi-head attention with one query for each mention.

    Half as wide as the encoder (to the next 32 below), which keeps it under 2% of a forward pass; heads of 32.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // 64)
        inner = 32 * self.heads
        self.query = nn.Linear(width, inner)
        self.key_value = nn.Linear(width, 2 * inner)
        self.output = nn.Linear(inner, width)

    def forward(self, mentions: Tensor, states: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, M, D) from mention states (B, M, D), token states (B, T, D) and their mask (B, T)."""

        def split(tensor: Tensor) -> Tensor:  # (B, L, inner) -> (B, heads, L, inner / heads)
            return tensor.reshape(*tensor.shape[:2], self.heads, -1).transpose(1, 2)

        key, value = self.key_value(states).chunk(2, dim=-1)
        found = nn.functional.scaled_dot_product_attention(
            split(self.query(mentions)), split(key), split(value), attn_mask=attention_mask[:, None, None, :].bool()
        )
        return self.output(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class DetenteModel(PreTrainedModel):
    """Encoder, topic head, voice head and stance head; a plain `transformers` model.

    Works over any encoder that `AutoModel` loads and that returns `last_hidden_state`.
    """

    config_class = DetenteConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: DetenteConfig) -> None:
        super().__init__(config)
        encoder_config = config.encoder_config()
        if config._attn_implementation != "sdpa":  # the default, which not every encoder has; each chooses its own
            encoder_config._attn_implementation = config._attn_implementation
        self.encoder = AutoModel.from_config(encoder_config)  # type: ignore[no-untyped-call]
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # the heads read token states; a pooler would be dead weight
        codebook = Codebook.from_dict(config.codebook)
        width = encoder_config.hidden_size
        self.dropout = nn.Dropout(config.head_dropout)
        self.topic_head = nn.Linear(width, len(codebook.topics))
        self.voice_head = nn.Linear(width, 3)
        self.mention_attention = MentionAttention(width) if config.mention_attention else None
        self.stance_head = nn.Sequential(
            nn.Linear((3 if config.mention_attention else 2) * width, width),
            nn.GELU(),
            nn.Dropout(config.head_dropout),
            nn.Linear(width, len(codebook.poles if config.stance_by_poles else codebook.stances)),
        )
        self.poles_of_stances = [[pole.name in s.poles for pole in codebook.poles] for s in codebook.stances]
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        mentions: Tensor | None = None,
        token_type_ids: Tensor | None = None,  # noqa: ARG002
        return_dict: bool | None = None,
    ) -> DetenteOutput | tuple[Tensor, ...]:
        """One pass over padded windows.

        Args:
            input_ids: token ids, (B, T).
            attention_mask: 1 for tokens, 0 for padding, (B, T); None is all ones.
            mentions: token spans [first, end) whose stance is wanted, (B, M, 2); empty spans fill up rows.
            token_type_ids: accepted because some tokenizers give it, and ignored: a paragraph is one segment.
            return_dict: False gives a tuple, for tracing; default is the configuration's.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.to(states.dtype).unsqueeze(-1)  # (B, T, 1)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)  # (B, D)
        output = DetenteOutput(
            topics=self.topic_head(self.dropout(pooled)),
            voices=self.voice_head(self.dropout(states)),
            stances=None if mentions is None else self.stance_logits(states, pooled, mentions, attention_mask),
            states=states,
            pooled=pooled,
        )
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return output if use_dict else output.to_tuple()

    def stance_logits(self, states: Tensor, pooled: Tensor, mentions: Tensor, attention_mask: Tensor) -> Tensor:
        """Stance logits (B, M, S) from token states (B, T, D), pooled states (B, D), token spans (B, M, 2) and the
        attention mask (B, T)."""
        position = torch.arange(states.shape[1], device=states.device)  # (T,)
        inside = (position >= mentions[..., :1]) & (position < mentions[..., 1:])  # (B, M, T)
        weight = inside.to(states.dtype)
        mention = weight @ states / weight.sum(-1, keepdim=True).clamp(min=1)  # (B, M, D)
        paragraph = pooled.unsqueeze(1).expand(-1, mentions.shape[1], -1)  # (B, M, D)
        parts = [mention, paragraph]
        if self.mention_attention is not None:
            parts.append(self.mention_attention(mention, states, attention_mask))
        logits = self.stance_head(self.dropout(torch.cat(parts, dim=-1)))
        if not self.config.stance_by_poles:
            return logits  # type: ignore[no-any-return]
        favoured = torch.tensor(self.poles_of_stances, dtype=logits.dtype, device=logits.device)  # (S, P)
        log_sigmoid = nn.functional.logsigmoid
        return log_sigmoid(logits) @ favoured.T + log_sigmoid(-logits) @ (1 - favoured).T


AutoConfig.register("detente", DetenteConfig)
AutoModel.register(DetenteConfig, DetenteModel)
