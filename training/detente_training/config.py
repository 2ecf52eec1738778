"""Reading a training configuration: a recipe in YAML, with `--set`, `--data` and `--output` laid over it.

Every mistake is reported at once and in the names that the user types. Paths are relative to the folder in
which the command runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from detente.errors import ConfigError
from detente_training.config_schema import (
    DataConfig,
    LoraSettings,
    LossWeights,
    ModelConfig,
    Section,
    TrainConfig,
    TrainingConfig,
    allowed,
    config_reference,
    leaves,
    section_of,
)

__all__ = [
    "DataConfig",
    "LoraSettings",
    "LossWeights",
    "ModelConfig",
    "TrainConfig",
    "TrainingConfig",
    "config_reference",
    "load_config",
]


def load_config(
    path: Path | None = None, sets: Sequence[str] = (), data: Sequence[str] = (), output: str | None = None
) -> TrainConfig:
    """Read a recipe and lay `--set`, `--data` and `--output` over it.

    Args:
        path: a YAML file; None starts from the defaults.
        sets: texts `section.key=value`, the value written as in YAML; the last one for a key wins.
        data: files added to `data.target`.
        output: the run folder, in place of the recipe's.

    Raises:
        ConfigError: every mistake in any of them, each on a line of its own.
    """
    mapping = {} if path is None else _read_yaml(path)
    problems = [problem for text in sets for problem in _override(mapping, text)]
    if output is not None:
        mapping["output"] = output
    section = mapping.get("data") or {}
    if data and isinstance(section, Mapping):
        target = section.get("target") or ()
        if isinstance(target, (str, list, tuple)):  # anything else is a mistake that validation names
            mapping["data"] = {
                **section,
                "target": [*([target] if isinstance(target, str) else target), *data],
            }
    elif isinstance(section, Mapping) and not section.get("files") and not section.get("target"):
        problems.append("there is nothing to train on: name labelled files with `--data` or under `data.files`")
    config = None
    try:
        config = TrainConfig.model_validate(mapping)
    except ValidationError as error:
        problems += _in_the_users_words(error)
    if config is None or problems:
        source = "the configuration" if path is None else str(path)
        raise ConfigError(f"{source} does not hold:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return config


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error rather than a silent choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}. {_recipes_near(path)}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read the configuration {path}: it is not UTF-8 text") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(found, dict):
        kind = "is empty" if found is None else f"holds {_kind(found)}"
        raise ConfigError(f"{path} {kind}; it must be a mapping with the keys: {', '.join(TrainConfig.model_fields)}")
    return found


def _recipes_near(path: Path) -> str:
    folders = dict.fromkeys((path.parent, Path("configs")))
    recipes = [str(p) for folder in folders for p in sorted(folder.glob("*.yaml")) if p.name != "codebook.yaml"]
    if not recipes:
        return "None is needed: `detente train --data my.jsonl` uses the defaults."
    by_name = {Path(recipe).stem: recipe for recipe in recipes}
    close = difflib.get_close_matches(path.stem, by_name, n=1)
    meant = f"Did you mean {by_name[close[0]]}? " if close else ""
    return f"{meant}Recipes at hand: {', '.join(recipes)}."


def _override(mapping: dict[Any, Any], text: str) -> Iterator[str]:
    """Lay one `section.key=value` over the mapping, or yield what is wrong with it."""
    name, equals, written = text.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        yield f"`--set {text}` must have the form section.key=value, as in `--set training.epochs=6`"
        return
    try:
        value = yaml.load(written, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError):
        yield f"`--set {text}`: {written!r} is no YAML value; put special characters in quotes"
        return
    inner = mapping
    for depth, key in enumerate(keys[:-1], start=1):
        below = inner.get(key)
        if below is None:
            below = inner[key] = {}
        elif not isinstance(below, dict):
            yield f"`--set {text}`: `{'.'.join(keys[:depth])}` holds a value and has no keys of its own"
            return
        inner = below
    inner[keys[-1]] = value


def _kind(value: Any) -> str:
    """A value as the user wrote it, short."""
    if isinstance(value, Mapping):
        return "a section of keys"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _in_the_users_words(error: ValidationError) -> list[str]:
    """One line for each key that is wrong, in the order of the schema."""
    lines: dict[str, str] = {}
    for item in error.errors():
        section: type[Section] | None = TrainConfig
        field: FieldInfo | None = None
        path: list[str] = []
        for part in item["loc"]:  # a union adds parts of its own below the key
            if section is None:
                break
            field = section.model_fields.get(str(part))
            path.append(str(part))
            if field is None:
                break
            section = section_of(field.annotation)
        name = ".".join(path)
        if path and field is None:
            lines[name] = _unknown(path)
        elif section is None and field is not None:
            lines[name] = f"`{name}` must be {allowed(field)}, not {_written(item, path)}"
        elif section is not None and item["type"] == "value_error" and isinstance(item["input"], Mapping):
            lines[name] = f"`{name}`: {item['ctx']['error']}"
        elif section is not None:
            keys = ", ".join(section.model_fields)
            lines[name] = f"`{name}` must be a section with the keys {keys}, not {_kind(item['input'])}"
    return list(lines.values())


def _written(item: Any, path: list[str]) -> str:
    if len(item["loc"]) > len(path) and isinstance(item["loc"][len(path)], int):
        return f"a list with {_kind(item['input'])} in it"
    return _kind(item["input"])


def _unknown(path: list[str]) -> str:
    """The line for an unknown key, with the nearest name of its section, else of another."""
    section: type[Section] = TrainConfig
    for part in path[:-1]:
        section = section_of(section.model_fields[part].annotation) or section
    close = difflib.get_close_matches(path[-1], section.model_fields, n=1)
    if not close:
        elsewhere = {name.rpartition(".")[2]: name for name, _ in leaves(TrainConfig)}
        close = [elsewhere[found] for found in difflib.get_close_matches(path[-1], elsewhere, n=1)]
    advice = f"did you mean `{close[0]}`?" if close else f"allowed here: {', '.join(section.model_fields)}"
    return f"unknown key `{'.'.join(path)}`, {advice}"
