"""Who wants to talk, who wants to press: topics, voices and their stance in every paragraph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detente.tagger import Tagger as Tagger
    from detente.tags import ParagraphTags as ParagraphTags
    from detente.tags import Voice as Voice

__all__ = ["ParagraphTags", "Tagger", "Voice"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: importing detente must not cost importing torch.
    if name == "Tagger":
        from detente.tagger import Tagger

        return Tagger
    if name in ("ParagraphTags", "Voice"):
        from detente import tags

        return getattr(tags, name)
    raise AttributeError(f"module 'detente' has no attribute {name!r}")
