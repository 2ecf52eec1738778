"""The file of ablations: which variants are trained, or only read in another way, and what each is held against."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from detente.calibration import Calibration
from detente.errors import BundleError, ConfigError
from detente_training.config import TrainConfig, load_config
from detente_training.config_schema import Section


class Inherited(Section):
    """What may also stand at the top of the file, or of a group, for every variant below.

    Attributes:
        recipe: the training recipe, a path.
        set: `section.key=value` laid over the recipe; those from above come first, and the last one for a key wins.
        against: the variant that figures are compared with.
    """

    recipe: str | None = None
    set: tuple[str, ...] = ()
    against: str | None = None


class Variant(Inherited):
    """One way to make a model or to read one.

    Attributes:
        name: also the name of its folder.
        what: what sets it apart, one line.
        start: the variant whose bundle training starts from.
        curve: the line of the learning curves that it is a point of.
        bundle: the variant whose bundle is read, where nothing is trained.
        decode: `field=value` laid over the calibration that is fitted to that bundle.
        group: what it is shown under; its place in the file tells.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    what: str = Field(min_length=1)
    start: str | None = None
    curve: str | None = None
    bundle: str | None = None
    decode: tuple[str, ...] = ()
    group: str = ""


class Group(Inherited):
    group: str = Field(min_length=1)
    variants: tuple[Variant, ...] = Field(min_length=1)


class Ablations(Inherited):
    groups: tuple[Group, ...] = Field(min_length=1)


def read_ablations(path: Path) -> dict[str, Variant]:
    """Reads a file of ablations; see `scripts/ablations.yaml` for its form.

    Returns:
        The variants by name, in the order of the file, each with all that it inherits.

    Raises:
        ConfigError: every mistake in the file, each on a line of its own.
    """
    try:
        file = Ablations.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read the ablations {path}: {error.strerror}") from error
    except ValidationError as error:
        raise _mistakes(path, [_in_words(item) for item in error.errors()]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    problems: list[str] = []
    variants: dict[str, Variant] = {}
    for group in file.groups:
        for own in group.variants:
            if own.group:
                problems.append(f"variant `{own.name}`: `group` is told by its place in the file")
            if own.name in variants:
                problems.append(f"two variants have the name `{own.name}`")
            variants[own.name] = _with_inherited(own, group, file)
    problems += [f"`{g.group}` is the name of a group and of a variant" for g in file.groups if g.group in variants]
    problems += [problem for variant in variants.values() for problem in _loose_ends(variant, variants)]
    if problems:
        raise _mistakes(path, problems)
    return variants


def chosen(variants: Mapping[str, Variant], names: Sequence[str]) -> list[str]:
    """Names of variants and of groups -> names of variants, in the order of the file; no name is all of them.

    Raises:
        ConfigError: names that are neither.
    """
    known = list(dict.fromkeys([v.group for v in variants.values()] + list(variants)))
    unknown = [_unknown("variant or group", name, known) for name in names if name not in known]
    if unknown:
        raise ConfigError("; ".join(unknown))
    return [v.name for v in variants.values() if not names or v.name in names or v.group in names]


def lineage(variants: Mapping[str, Variant], name: str) -> list[Variant]:
    """The variant, the one whose bundle it is read from or started with, that one's start, and so on."""
    chain = [variants[name]]
    while (other := chain[-1].bundle or chain[-1].start) is not None:
        chain.append(variants[other])
    return chain


def configuration(variant: Variant, data: Sequence[str], seed: int) -> TrainConfig:
    """The configuration that a variant is trained with; from where and into which folder is left open.

    Args:
        data: labelled files added to `data.target`.

    Raises:
        ConfigError: every mistake in recipe and overrides.
    """
    assert variant.recipe is not None
    try:
        return load_config(Path(variant.recipe), [*variant.set, f"seed={seed}"], data, ".")
    except ConfigError as error:
        raise ConfigError(f"variant `{variant.name}`: {error}") from error


def changed(calibration: Calibration, decode: Sequence[str]) -> Calibration:
    """A calibration with `field=value` laid over it; a value may be the name of another field.

    Raises:
        BundleError: a field that there is not, or a value out of range.
    """
    names = [field.name for field in fields(Calibration)]
    for text in decode:
        name, _, written = text.partition("=")
        if name not in names:
            raise BundleError(_unknown("field of the calibration", name, names))
        value = getattr(calibration, written) if written in names else yaml.safe_load(written)
        calibration = replace(calibration, **{name: value})
    return calibration


def _with_inherited(own: Variant, group: Group, file: Ablations) -> Variant:
    against = own.against or group.against or file.against
    update: dict[str, Any] = {"group": group.group, "against": None if against == own.name else against}
    if own.bundle is None:  # what is not trained needs no recipe
        update["recipe"] = own.recipe or group.recipe or file.recipe
        update["set"] = (*file.set, *group.set, *own.set)
    return own.model_copy(update=update)


def _loose_ends(variant: Variant, variants: Mapping[str, Variant]) -> Iterator[str]:
    """What is wrong with the names that a variant uses, and with what it leaves out."""
    where = f"variant `{variant.name}`"
    for key in ("against", "start", "bundle"):
        name = getattr(variant, key)
        if name is not None and name not in variants:
            yield f"{where}, `{key}`: {_unknown('variant', name, list(variants))}"
        elif name is not None and key != "against" and variants[name].bundle is not None:
            yield f"{where}, `{key}`: `{name}` has no bundle of its own; name a variant that is trained"
    if variant.bundle is not None or variant.decode:
        if variant.bundle is None or not variant.decode:
            yield f"{where}: `bundle` and `decode` go together: whose bundle is read, and how"
        if variant.bundle is not None and any((variant.recipe, variant.set, variant.start, variant.curve)):
            yield f"{where} is not trained: `recipe`, `set`, `start` and `curve` are not for it"
        try:
            changed(Calibration(), variant.decode)
        except (BundleError, yaml.YAMLError) as error:
            yield f"{where}, `decode`: {error}"
    elif variant.recipe is None:
        yield f"{where} has no `recipe`, nor has its group or the file"
    elif not Path(variant.recipe).is_file():
        yield f"{where}: there is no recipe {variant.recipe}; its path is relative to the current folder"
    seen, other = {variant.name}, variants.get(variant.start or "")
    while other is not None and other.name not in seen:
        seen.add(other.name)
        other = variants.get(other.start or "")
    if other is not None and other.name == variant.name:
        yield f"{where} starts, by way of `start`, from itself"


def _mistakes(path: Path, problems: Sequence[str]) -> ConfigError:
    return ConfigError(f"{path} does not hold:\n" + "\n".join(f"  - {problem}" for problem in problems))


def _in_words(item: Any) -> str:
    """One mistake of the file's form: where it is, and what."""
    places = [str(part) if isinstance(part, str) else f"{part + 1}" for part in item["loc"]]
    kinds: dict[int, type[Inherited]] = {
        0: Ablations,
        2: Group,
        4: Variant,
    }  # by the depth of the keys: groups, 1, variants, 1, key
    if item["type"] == "extra_forbidden":
        known = list(kinds[len(places) - 1].model_fields)
        return f"{' '.join(places[:-1]) or 'the file'}: {_unknown('key', places[-1], known)}"
    return f"{' '.join(places) or 'the file'}: {item['msg']}"


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown {kind} `{name}`, " + (f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}")
