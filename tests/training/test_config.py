"""Configuration files and overrides: what is read, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.errors import ConfigError
from detente_training.config import (
    DataConfig,
    LoraSettings,
    LossWeights,
    ModelConfig,
    config_reference,
    load_config,
)

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def problems(*sets: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(None, sets, ["my.jsonl"])
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


def test_the_defaults_need_no_file() -> None:
    config = load_config(data=["my.jsonl"])
    assert config.encoder == "minilm"
    assert config.seed == 13
    assert config.training.learning_rate == 5e-5
    assert config.training.head_learning_rate == 5e-4
    assert config.model.window_tokens == 384
    assert config.lora is None
    assert (config.start, config.data.soft) == (None, ())
    assert (config.model.encoder_dropout, config.model.mention_attention) == (None, True)
    assert (config.training.schedule, config.training.loss_weights.soft) == ("linear", 1.0)
    assert config.data.every_file == ("my.jsonl",)
    assert config.data.deciding_files == ("my.jsonl",)


def test_data_adds_to_the_target_of_a_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {files: [corpus], target: held.jsonl}\noutput: runs/a\n")
    config = load_config(recipe, data=["more.jsonl", "corpus"], output="runs/b")
    assert config.data.files == ("corpus",)
    assert config.data.target == ("held.jsonl", "more.jsonl", "corpus")
    assert config.data.every_file == ("corpus", "held.jsonl", "more.jsonl")
    assert config.data.deciding_files == config.data.target
    assert config.output == "runs/b"


def test_files_decide_where_there_is_no_target() -> None:
    assert load_config(None, ["data.files=[a, b]"]).data.deciding_files == ("a", "b")


def test_sets_are_yaml_and_the_last_wins() -> None:
    config = load_config(
        None,
        [
            "training.epochs=6",
            "training.learning_rate=5e-4",  # YAML itself takes this for a text
            "training.epochs=2.5",
            "training.bf16=false",
            "training.loss_weights.topics=0",
            "data.files=corpus",
            "data.soft=runs/teacher/soft",
            "model.encoder_dropout=0",
            "training.schedule=constant",
            "lora.rank=8",
            "lora.merge=false",
        ],
    )
    assert config.training.epochs == 2.5
    assert config.training.learning_rate == 5e-4
    assert config.training.bf16 is False
    assert config.training.loss_weights.topics == 0
    assert config.data.files == ("corpus",)
    assert config.data.soft == ("runs/teacher/soft",)
    assert config.model.encoder_dropout == 0
    assert config.training.schedule == "constant"
    assert config.lora is not None
    assert (config.lora.rank, config.lora.alpha, config.lora.target) == (8, 32, "all-linear")
    assert config.lora.merge is False


def test_a_set_can_take_a_section_away(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data:\n  files: [corpus]\ntraining:\nlora: {rank: 4}\n")  # `training:` with nothing under it
    config = load_config(recipe, ["lora=null"])
    assert config.lora is None
    assert config.training.epochs == 3


def test_the_saved_configuration_reads_back(tmp_path: Path) -> None:
    config = load_config(None, ["lora.target=[query, value]", "lora.layers=[0, 1]", "seed=7"], ["é.jsonl"])
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


def test_every_mistake_is_listed_in_the_users_words() -> None:
    found = problems(
        "training.learning_rat=1",
        "learning_rate=1",
        "model.zzz=1",
        "training.batch_size=many",
        "training.gradient_accumulation=true",
        "training.epochs=0",
        "training.warmup_ratio=.nan",
        "training.weight_decay=",
        "training.bf16=maybe",
        "training.select_by=f1",
        "training.loss_weights=3",
        "training.threads=0",
        "lora.rank=1.5",
        "data.files=[a, 2]",
        "encoder=3",
    )
    assert found == [
        "`encoder` must be a text, not 3",
        "`data.files` must be a list of texts, not a list with 2 in it",
        f"unknown key `model.zzz`, allowed here: {', '.join(ModelConfig.model_fields)}",
        "`training.epochs` must be a number (above 0), not 0",
        "`training.batch_size` must be a whole number (at least 1), not 'many'",
        "`training.warmup_ratio` must be a number (at least 0 and below 1), not nan",
        "`training.weight_decay` must be a number (at least 0 and below 1), not nothing",
        "`training.gradient_accumulation` must be a whole number (at least 1), not true",
        "`training.select_by` must be `voice_stance_f1`, `topics_f1`, `paragraph_stance_f1` or `mean`, not 'f1'",
        "`training.bf16` must be true, false or `auto`, not 'maybe'",
        f"`training.loss_weights` must be a section with the keys {', '.join(LossWeights.model_fields)}, not 3",
        "`training.threads` must be a whole number (at least 1) or null, not 0",
        "unknown key `training.learning_rat`, did you mean `learning_rate`?",
        "`lora.rank` must be a whole number (at least 1), not 1.5",
        "unknown key `learning_rate`, did you mean `training.learning_rate`?",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training.epochs", "`--set training.epochs` must have the form section.key=value"),
        ("=3", "`--set =3` must have the form section.key=value"),
        ("training..epochs=3", "must have the form section.key=value"),
        ("seed=[1", "`--set seed=[1`: '[1' is no YAML value"),
        ("seed=2024-13-01", "is no YAML value"),
        ("encoder.name=x", "`encoder` must be a text, not a section of keys"),
        ("training.batch_sizes.x=1", "unknown key `training.batch_sizes`, did you mean `batch_size`?"),
        ("model.overlap_tokens=200", "`model`: `overlap_tokens` (200) must be at most half of `window_"),
        ("training.loss_weights={topics: 0, voices: 0, stance: 0}", "at least one weight must be above 0"),
        ("training.schedule=cosine", "`training.schedule` must be `linear` or `constant`, not 'cosine'"),
        ("model.encoder_dropout=1", "`model.encoder_dropout` must be a number (at least 0 and below 1) or null, not 1"),
        ("data.soft=3", "`data.soft` must be a list of texts, not 3"),
        ("lora.merge=null", "`lora.merge` must be true or false, not nothing"),
        ("lora.layers=[1]", "`lora`: `layers` needs `target` to be a list of module names"),
        ("lora=yes", f"`lora` must be a section with the keys {', '.join(LoraSettings.model_fields)}, not true"),
    ],
)  # fmt: skip
def test_one_mistake(text: str, message: str) -> None:
    (found,) = problems(text)
    assert message in found


def test_a_value_has_no_keys_below_it(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 1\n")
    with pytest.raises(ConfigError, match=r"`--set seed\.x=2`: `seed` holds a value and has no keys of its own"):
        load_config(recipe, ["seed.x=2"], ["a"])


def test_something_must_be_trained_on() -> None:
    with pytest.raises(ConfigError, match="nothing to train on: name labelled files with `--data`"):
        load_config()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; it must be a mapping with the keys: encoder, codebook"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n- b\n", "holds a list; it must be a mapping"),
        (b"seed: [1\n", "is not valid YAML"),
        (b"seed: 1\nseed: 2\n", "`seed` is given twice"),
        (b"training:\n  epochs: 1\n  epochs: 2\n", "`epochs` is given twice"),
        (b"output: \xff\n", "it is not UTF-8 text"),
        (b"1: 2\ndata: {files: [a]}\n", "unknown key `1`"),
        (b"data: 3\n", f"`data` must be a section with the keys {', '.join(DataConfig.model_fields)}, not 3"),
        (b"output: !!python/object/apply:os.getcwd []\n", "is not valid YAML"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, data=["a.jsonl"])
    assert message in str(caught.value)


def test_a_missing_file_names_the_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"None is needed: `detente train --data my\.jsonl`"):
        load_config(Path("quick"))
    (tmp_path / "configs").mkdir()
    for name in ("base", "codebook", "quick"):
        (tmp_path / "configs" / f"{name}.yaml").touch()
    with pytest.raises(ConfigError, match=r"Did you mean configs/quick\.yaml\? Recipes at hand: configs/base\.yaml, c"):
        load_config(Path("quik.yaml"))
    with pytest.raises(ConfigError, match="cannot read the configuration configs"):
        load_config(Path("configs"))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.text(max_size=30), st.sampled_from(["", "training.", "lora.", "data.files=", "training.epochs="]))
def test_no_override_breaks_out(text: str, start: str) -> None:
    try:
        config = load_config(None, [start + text], ["a.jsonl"])
    except ConfigError as error:
        config = None
        said = str(error)
    assert config or said.startswith("the configuration does not hold:\n  - ")


def test_the_configuration_is_frozen() -> None:
    config = load_config(data=["a"])
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


def test_the_documentation_is_the_schema() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert config_reference() in text, "paste in what `detente_training.config.config_reference()` returns"
