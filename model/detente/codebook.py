"""The codebook: which topics, poles and stances there are, and what each means.

A stance is a set of poles. With the built-in codebook: engagement {engagement}, pressure {pressure},
mixed {engagement, pressure}, neutral {}. The stance of a paragraph is the union of its voices' sets.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from detente.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Label:
    """A topic or a pole: its name, what it means, and one example at its boundary."""

    name: str
    definition: str = ""
    example: str = ""


@dataclass(frozen=True, slots=True)
class Stance(Label):
    """A stance and the poles it favours; the empty set is the neutral stance."""

    poles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Codebook:
    """Label sets of one coding scheme.

    Raises:
        ConfigError: names that repeat, stances with unknown poles or the same set of poles, no label at all.
    """

    version: str
    topics: tuple[Label, ...]
    poles: tuple[Label, ...]
    stances: tuple[Stance, ...]

    def __post_init__(self) -> None:
        problems: list[str] = []
        if not self.stances and not self.topics:
            problems.append("a codebook needs at least one topic or one stance")
        for kind, labels in (("topic", self.topics), ("pole", self.poles), ("stance", self.stances)):
            names = [label.name for label in labels]
            problems += [
                f"{kind} `{name}` is defined twice" for name in sorted({n for n in names if names.count(n) > 1})
            ]
            problems += [
                f"{kind} name {name!r} is no plain word of letters, digits and `_`; it names a column"
                for name in names
                if not name.isidentifier()
            ]
        pole_names = [pole.name for pole in self.poles]
        known = ", ".join(pole_names) or "none"
        for stance in self.stances:
            problems += [
                f"stance `{stance.name}` names the pole `{pole}`, which is not one of: {known}"
                for pole in stance.poles
                if pole not in pole_names
            ]
        seen: dict[frozenset[str], str] = {}
        for stance in self.stances:
            poles = frozenset(stance.poles)
            if poles in seen:
                problems.append(
                    f"stances `{seen[poles]}` and `{stance.name}` have the same poles; "
                    "a paragraph's stance could be either"
                )
            seen.setdefault(poles, stance.name)
        if problems:
            raise ConfigError("the codebook does not hold:\n" + "\n".join(f"  - {p}" for p in problems))

    @property
    def topic_names(self) -> tuple[str, ...]:
        return tuple(topic.name for topic in self.topics)

    @property
    def stance_names(self) -> tuple[str, ...]:
        return tuple(stance.name for stance in self.stances)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the codebook's content, independent of YAML layout; travels in every bundle."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def poles_of(self, stance: str) -> frozenset[str]:
        """The set of poles that a stance favours."""
        return frozenset(self.stances[self.stance_names.index(stance)].poles)

    def union(self, stances: Iterable[str]) -> str | None:
        """The paragraph's stance by the rule: the stance whose poles are the union of its voices' poles.

        None where no stance of the codebook has that set (possible only in a codebook without a `mixed`).
        """
        united = frozenset[str]().union(*(self.poles_of(stance) for stance in stances))
        return next((s.name for s in self.stances if frozenset(s.poles) == united), None)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Codebook:
        """Build from the mapping of a YAML or JSON file.

        Raises:
            ConfigError: a key that is missing or unknown, or a value of the wrong shape; all are listed.
        """
        problems: list[str] = []
        if not isinstance(data, Mapping):
            raise ConfigError(
                "the codebook does not hold:\n  - it must be a mapping with: version, topics, poles, stances"
            )
        allowed = ("version", "topics", "poles", "stances")
        problems += [f"unknown key `{key}`; allowed: {', '.join(allowed)}" for key in data if key not in allowed]
        if data.get("version") is None:
            problems.append("missing key `version`")

        def labels(key: str, kind: type[Label]) -> list[Any]:
            made = []
            fields = set(kind.__dataclass_fields__)
            items = data.get(key) or []
            if not isinstance(items, list | tuple):
                problems.append(f"{key}: must be a list of mappings with at least `name`")
                return []
            for number, item in enumerate(items, start=1):
                if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
                    problems.append(f"{key} {number}: must be a mapping with at least `name`, a text")
                    continue
                problems.extend(
                    f"{key} {number}: unknown key `{unknown}`; allowed: {', '.join(sorted(fields))}"
                    for unknown in sorted(map(str, set(item) - fields))
                )
                poles = item.get("poles") or []
                if not isinstance(poles, list | tuple):  # a bare text would be read letter by letter
                    problems.append(f"{key} {number}: `poles` must be a list of pole names, or []")
                    continue
                values: dict[str, Any] = {k: str(v or "") for k, v in item.items() if k in fields}
                if "poles" in fields:
                    values["poles"] = tuple(map(str, poles))
                made.append(kind(**values))
            return made

        topics, poles, stances = labels("topics", Label), labels("poles", Label), labels("stances", Stance)
        if problems:
            raise ConfigError("the codebook does not hold:\n" + "\n".join(f"  - {p}" for p in problems))
        return cls(str(data["version"]), tuple(topics), tuple(poles), tuple(stances))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Codebook:
        """Read a codebook file (UTF-8 YAML); see `configs/codebook.yaml` for the form.

        Raises:
            ConfigError: a file that cannot be read or is not YAML, or a codebook that does not hold.
        """
        try:
            return cls.from_dict(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"cannot read the codebook {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"the codebook {path} is not UTF-8 text; save it as UTF-8") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"the codebook {path} is not valid YAML: {error}") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def default(cls) -> Codebook:
        """The built-in codebook of human rights, military tension and diplomacy; engagement and pressure."""
        text = resources.files("detente").joinpath("codebook.yaml").read_text(encoding="utf-8")
        return cls.from_dict(yaml.safe_load(text))
