"""Ablations: the file of variants, the table, the plot, and whole runs of tiny variants."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from detente.bundle import load_bundle
from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.errors import BundleError, ConfigError, DataError, MissingExtraError
from detente_training import trainer as trainer_module
from detente_training.ablation_runs import Bench, Result
from detente_training.ablation_tables import markdown, plain, plot_curves, render_rows, summarise
from detente_training.ablations import Variant, changed, chosen, configuration, lineage, read_ablations
from detente_training.annotation import LabelledParagraph
from detente_training.metrics import Prediction, evaluate
from detente_training.training_data import load_data

if TYPE_CHECKING:
    from click.testing import Result as Outcome

    from detente_training.config import TrainConfig

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "scripts" / "ablations.yaml"
Mark = Callable[..., LabelledParagraph]
Write = Callable[[Path, Iterable[Any]], Path]
Script = Callable[..., "Outcome"]


# --- the file of variants ---------------------------------------------------------------------------------------------


def written(path: Path, *variants: dict[str, Any], **top: Any) -> Path:
    """A file of ablations with one group `g`."""
    found = {
        "recipe": str(ROOT / "configs" / "corpus.yaml"),
        **top,
        "groups": [{"group": "g", "variants": [*variants]}],
    }
    path.write_text(yaml.safe_dump(found), encoding="utf-8")
    return path


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> dict[str, Variant]:
    monkeypatch.chdir(ROOT)
    return read_ablations(SHIPPED)


def test_every_shipped_variant_holds(shipped: dict[str, Variant]) -> None:
    assert {variant.group for variant in shipped.values()} >= {
        "learning-curve", "adapters-small", "adapters-base", "learning-rate", "layer-decay", "epochs", "stance-head",
        "dropout", "voice-loss", "two-stages", "contrast", "decoding",
    }  # fmt: skip
    configs = {
        name: configuration(variant, ["realtrain.jsonl"], 14)
        for name, variant in shipped.items()
        if variant.bundle is None
    }
    assert all((config.seed, config.data.target) == (14, ("realtrain.jsonl",)) for config in configs.values())
    dumped = [config.to_yaml() + str(shipped[name].start) for name, config in configs.items()]
    assert len(set(dumped)) == len(dumped)  # no two variants are the same
    files = {path for config in configs.values() for path in config.data.files}
    assert files
    assert all((ROOT / path).exists() for path in files)
    assert SHIPPED.read_text(encoding="utf-8").startswith("# python scripts/ablate.py --data realtrain.jsonl")


def test_the_shipped_learning_curves_are_what_they_say(shipped: dict[str, Variant]) -> None:
    for name, variant in shipped.items():
        if variant.curve is not None:
            config = configuration(variant, ["realtrain.jsonl"], 13)
            size = name.rpartition("-")[2]
            assert config.data.max_paragraphs is None
            assert config.data.max_target_paragraphs == (None if size == "all" else int(size))
            assert bool(config.data.files) == (variant.curve == "with the corpus") == name.startswith("corpus")


def test_what_a_variant_inherits(tmp_path: Path) -> None:
    path = tmp_path / "ablations.yaml"
    recipes = [str(ROOT / "configs" / name) for name in ("corpus.yaml", "quick.yaml")]
    path.write_text(
        yaml.safe_dump(
            {
                "recipe": recipes[0],
                "set": "training.epochs=2",
                "against": "plain",
                "groups": [
                    {"group": "first", "variants": [{"name": "plain", "what": "as it is"}]},
                    {
                        "group": "second",
                        "recipe": recipes[1],
                        "set": ["training.epochs=3", "training.batch_size=8"],
                        "variants": [
                            {"name": "more", "what": "longer", "set": ["training.epochs=4"], "start": "plain"},
                            {"name": "other", "what": "by hand", "recipe": recipes[0], "against": "more"},
                            {"name": "half", "what": "read at 0.5", "bundle": "more", "decode": "voice_threshold=0.5"},
                        ],
                    },
                ],
            }
        ),
        encoding="utf-8",
    )
    plain_one, more, other, half = read_ablations(path).values()
    assert (plain_one.recipe, plain_one.set, plain_one.against) == (recipes[0], ("training.epochs=2",), None)
    assert (more.group, more.recipe, more.against) == ("second", recipes[1], "plain")
    config = configuration(more, ["mine.jsonl"], 7)
    assert (config.training.epochs, config.training.batch_size, config.seed) == (4, 8, 7)
    assert (other.recipe, other.against) == (recipes[0], "more")
    assert (half.recipe, half.set, half.against, half.decode) == (None, (), "plain", ("voice_threshold=0.5",))
    variants = read_ablations(path)
    assert [v.name for v in lineage(variants, "half")] == ["half", "more", "plain"]
    assert chosen(variants, []) == ["plain", "more", "other", "half"]
    assert chosen(variants, ["half", "first"]) == ["plain", "half"]
    with pytest.raises(ConfigError, match="unknown variant or group `secnd`, did you mean `second`"):
        chosen(variants, ["secnd"])


A = {"name": "a", "what": "one"}
HALF = {"name": "b", "what": "two", "bundle": "a", "decode": ["voice_threshold=0.5"]}


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ([A | {"sets": ["x=1"]}], "groups 1 variants 1: unknown key `sets`, did you mean `set`"),
        ([{"name": "a"}], "groups 1 variants 1 what: Field required"),
        ([A | {"set": [1]}], "groups 1 variants 1 set 1: Input should be a valid string"),
        ([{"name": "../a", "what": "one"}], "groups 1 variants 1 name: String should match"),
        ([A, {"name": "a", "what": "two"}], "two variants have the name `a`"),
        ([A, {"name": "g", "what": "two"}], "`g` is the name of a group and of a variant"),
        ([A | {"group": "h"}], "variant `a`: `group` is told by its place in the file"),
        ([A | {"recipe": "configs/none.yaml"}], "variant `a`: there is no recipe configs/none.yaml"),
        ([A | {"against": "b"}], "variant `a`, `against`: unknown variant `b`, known: a"),
        ([A | {"start": "a"}], "variant `a` starts, by way of `start`, from itself"),
        ([A | {"start": "b"}, {"name": "b", "what": "two", "start": "a"}], "variant `b` starts, by way of"),
        ([A, {"name": "b", "what": "two", "bundle": "a"}], "variant `b`: `bundle` and `decode` go together"),
        ([A | {"decode": ["voice_threshold=0.5"]}], "variant `a`: `bundle` and `decode` go together"),
        (
            [A, HALF | {"decode": ["voice_threshhold=0.5"]}],
            "unknown field of the calibration `voice_threshhold`, did you mean `voice_threshold`",
        ),
        (
            [A, HALF | {"decode": ["voice_threshold=2"]}],
            r"voice_threshold must be a probability in \[0, 1\], not 2",
        ),
        (
            [A, HALF | {"set": ["seed=1"]}],
            "variant `b` is not trained: `recipe`, `set`, `start` and `curve` are not for it",
        ),
        (
            [A, HALF, {"name": "c", "what": "three", "start": "b"}],
            "variant `c`, `start`: `b` has no bundle of its own",
        ),
        ([], "groups 1 variants: Tuple should have at least 1 item"),
    ],
)
def test_a_file_that_does_not_hold(tmp_path: Path, variants: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_ablations(written(tmp_path / "ablations.yaml", *variants))


def test_every_mistake_is_listed(tmp_path: Path) -> None:
    path = written(tmp_path / "ablations.yaml", A | {"against": "x"}, A, recipe=None)
    with pytest.raises(ConfigError, match=r"does not hold:\n  - two .*\n  - variant `a` has no `recipe`") as caught:
        read_ablations(path)
    assert str(caught.value).count("\n  - ") == 2  # the second variant of that name stands for the first


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "ablations.yaml"
    with pytest.raises(ConfigError, match=r"cannot read the ablations .*No such file"):
        read_ablations(path)
    path.write_text("groups: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        read_ablations(path)
    path.write_text("groups: 5\nwat: 1", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"groups: Input .*\n  - the file: unknown key `wat`, known: recipe, set"):
        read_ablations(path)


def test_an_override_that_does_not_hold(tmp_path: Path) -> None:
    variants = read_ablations(written(tmp_path / "ablations.yaml", A | {"set": ["training.epoch=2"]}))
    with pytest.raises(ConfigError, match=r"variant `a`: .*\n  - unknown key `training.epoch`, did you mean `epochs`"):
        configuration(variants["a"], ["mine.jsonl"], 13)


def test_a_changed_calibration() -> None:
    fitted = Calibration(voice_threshold=0.3, narrator_threshold=0.6, topic_thresholds={"diplomacy": 0.4})
    assert changed(fitted, ["narrator_threshold=voice_threshold"]).narrator_threshold == 0.3
    assert changed(fitted, ["topic_thresholds={}"]).topic_threshold("diplomacy") == 0.5
    assert changed(fitted, ["voice_threshold=0.5", "voice_temperature=1"]).voice_threshold == 0.5
    assert changed(fitted, []) == fitted
    with pytest.raises(BundleError, match="voice_temperature must be a number above 0, not 'hot'"):
        changed(fitted, ["voice_temperature=hot"])


def test_smaller_draws_of_the_target_are_part_of_larger_ones(
    tiny_config: Callable[..., TrainConfig], corpus: list[LabelledParagraph], mark: Mark, write: Write, tmp_path: Path
) -> None:
    files = write(tmp_path / "files.jsonl", [mark("Rice was poor.", f"f{n}-0", split="train") for n in range(4)])

    def drawn(*sets: str) -> list[str]:
        data = load_data(tiny_config(f"data.files=[{files}]", *sets), Codebook.default())
        assert len(data.validation) == 12
        return [p.id for p in data.train]

    everything = drawn()
    assert len(everything) == 34
    few, more = (set(drawn(f"data.max_target_paragraphs={n}")) for n in (5, 12))
    assert few < more < set(everything)
    assert (len(few), len(more)) == (9, 16)  # the four others are always there
    assert drawn("data.max_target_paragraphs=500") == everything
    assert set(drawn("data.max_target_paragraphs=5", "seed=14")) != few
    assert len(drawn("data.max_target_paragraphs=5", "data.max_paragraphs=6")) == 6


# --- the table --------------------------------------------------------------------------------------------------------


def variant(name: str, **fields: Any) -> Variant:
    return Variant.model_validate({"name": name, "what": f"what {name} is", "group": "g", **fields})


def result(name: str, seed: int, right: int, mark: Mark, **cost: Any) -> Result:
    """A result in which `right` of four paragraphs have the right topic, and nobody speaks."""
    gold = [mark("Rice.", f"p{n}-0", topics=("diplomacy",)) for n in range(4)]
    found = [
        Prediction(("diplomacy",) if n < right else (), {"diplomacy": 0.75}, (), (), "neutral", {}, ())
        for n in range(4)
    ]
    report = evaluate(gold, found, Codebook.default(), bootstrap=0)
    return Result(name, seed, report, **{"minutes": None, "parameters": None, "real": None, **cost})


@pytest.fixture
def table(mark: Mark) -> tuple[dict[str, Variant], list[Result]]:
    variants = [
        variant("plain"),
        variant("other", against="plain", group="h | i"),
        variant("alone", against="other", group="h | i"),
        variant("never"),
    ]
    results = [
        result("other", 14, 4, mark, minutes=12.0, parameters=1_234_567),
        result("plain", 13, 2, mark, minutes=10.0, parameters=22_700_000),  # F1 2/3
        result("plain", 14, 3, mark, parameters=22_700_000),  # F1 6/7
        result("other", 13, 4, mark, minutes=14.0, parameters=1_234_567),
        result("alone", 15, 1, mark),
    ]
    return {v.name: v for v in variants}, results


def test_rows(table: tuple[dict[str, Variant], list[Result]]) -> None:
    rows = {row.variant.name: row for row in summarise(*table)}
    assert list(rows) == ["plain", "other", "alone"]
    assert (rows["plain"].seeds, rows["plain"].minutes, rows["plain"].parameters) == ((13, 14), 10.0, 22_700_000)
    topics = rows["plain"].figures["topics macro-F1"]
    assert topics.mean == pytest.approx((2 / 3 + 6 / 7) / 2)
    assert topics.sd == pytest.approx((6 / 7 - 2 / 3) / 2**0.5)
    assert topics.difference is None
    topics = rows["other"].figures["topics macro-F1"]
    assert (topics.mean, topics.sd) == (1.0, 0.0)
    assert topics.difference == pytest.approx(1 - (2 / 3 + 6 / 7) / 2)
    topics = rows["alone"].figures["topics macro-F1"]
    assert (topics.mean, topics.sd, topics.difference) == (0.4, None, None)  # no seed in common with `other`
    assert rows["alone"].figures["voices F1"].mean is None  # nobody speaks and nobody was found
    assert rows["plain"].figures["worst ECE"].mean == pytest.approx(0.25)


def test_the_markdown_table(table: tuple[dict[str, Variant], list[Result]]) -> None:
    lines = markdown(summarise(*table)).splitlines()
    assert lines[0].startswith("A cell has the mean over seeds ± the standard deviation")
    assert lines[2:] == [
        "| group | variant | what changed | against | seeds | topics macro-F1 | voices F1 | voice+stance F1 "
        "| stance macro-F1 | par. stance macro-F1 | worst ECE | minutes | trained weights |",
        "|---|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        "| g | `plain` | what plain is |  | 2 | .762 ±.135 | - | - | - | 1.00 ±.000 | .250 ±.000 | 10 | 22.70M |",
        r"| h \| i | `other` | what other is | `plain` | 2 | 1.00 ±.000 (+.238) | - | - | - | 1.00 ±.000 (±.000) "
        "| .250 ±.000 (±.000) | 13 | 1.23M |",
        "|  | `alone` | what alone is | `other` | 1 | .400 | - | - | - | 1.00 | .250 | - | - |",
    ]


def test_the_table_on_a_terminal(table: tuple[dict[str, Variant], list[Result]]) -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(render_rows(summarise(*table)))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines]
    place = rows.index(["other", "2", "1.00", "-", "-", "-", "1.00", ".250", "13", "1.23M"])
    assert rows[place - 1] == ["h", "|", "i"]  # the group
    assert rows[place + 1][-3:] == ["±.000", "±.000", "±.000"]
    assert rows[place + 2][-3:] == ["+.238", "±.000", "±.000"]
    assert " ".join(word for row in rows[place + 1 :] for word in row).count("against") == 2
    assert "…" not in "".join(lines)


def test_figures_as_json(table: tuple[dict[str, Variant], list[Result]]) -> None:
    variants, results = table
    found = json.loads(json.dumps(plain(summarise(variants, results), results)))
    assert [row["name"] for row in found] == ["plain", "other", "alone"]
    assert [run["seed"] for run in found[0]["runs"]] == [13, 14]
    assert found[0]["runs"][1]["figures"]["topics macro-F1"] == pytest.approx(6 / 7)
    assert found[2]["figures"]["topics macro-F1"] == {"mean": 0.4, "sd": None, "difference": None}


# --- the plot ---------------------------------------------------------------------------------------------------------


def texts(path: Path) -> list[str]:
    root = ElementTree.parse(path).getroot()
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_learning_curves(mark: Mark, tmp_path: Path) -> None:
    variants = {v.name: v for v in (variant("a", curve="real alone"), variant("b", curve="with the corpus & more"))}
    sizes = ((2000, 1), (4000, 2), (15543, 3))
    results = [
        result(name, seed, right, mark, real=real) for name in variants for real, right in sizes for seed in (13, 14)
    ]
    for path in (tmp_path / "one.svg", tmp_path / "two.svg"):
        plot_curves(variants, results, path)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    found = texts(tmp_path / "one.svg")
    assert {"real alone", "with the corpus & more", "2,000", "4,000", "15,543"} <= set(found)
    assert {"topics macro-F1", "voices F1", "voice+stance F1", "paragraph stance macro-F1"} <= set(found)
    assert found.count("real paragraphs (log scale)") == 4
    assert str(tmp_path) not in (tmp_path / "one.svg").read_text(encoding="utf-8")


def test_nothing_to_plot(mark: Mark, tmp_path: Path) -> None:
    variants = {"a": variant("a"), "b": variant("b", curve="real alone")}
    with pytest.raises(DataError, match="no variant with a `curve` has a result yet"):
        plot_curves(variants, [result("a", 13, 1, mark, real=5), result("b", 13, 1, mark)], tmp_path / "one.svg")


def test_a_plot_without_matplotlib(mark: Mark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    variants = {"a": variant("a", curve="real alone")}
    with pytest.raises(MissingExtraError, match=r'pip install "detente\[plots\]"'):
        plot_curves(variants, [result("a", 13, 1, mark, real=5)], tmp_path / "one.svg")


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_variants(tiny_config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of ablations of the tiny encoder; the data are for the command line."""
    folder = tmp_path_factory.mktemp("ablations")
    recipe = tiny_config("training.epochs=1", "training.checkpoint_every_steps=1").model_dump(mode="json")
    recipe["data"]["target"] = []
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return written(
        folder / "ablations.yaml",
        {"name": "few", "what": "eight paragraphs", "set": ["data.max_target_paragraphs=8"], "curve": "real alone"},
        {"name": "lora", "what": "adapters", "set": ["lora.rank=2"], "against": "few", "curve": "real alone"},
        {"name": "second", "what": "goes on", "start": "few", "against": "few"},
        {"name": "half", "what": "read at 0.5", "bundle": "few", "decode": ["voice_threshold=0.5"], "against": "few"},
        recipe=str(folder / "recipe.yaml"),
    )


@pytest.fixture(scope="module")
def ablate(tiny_variants: Path, corpus_file: Path) -> Script:
    """Runs the script with the tiny variants."""
    path = ROOT / "scripts" / "ablate.py"
    spec = importlib.util.spec_from_file_location("ablate_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments: Any, data: Path | None = corpus_file) -> Outcome:
        common = ["--config", str(tiny_variants), *(["--data", str(data)] if data else [])]
        return CliRunner(env={"COLUMNS": "130"}).invoke(module.app, [*common, *map(str, arguments)])

    return run


@pytest.fixture(scope="module")
def finished(ablate: Script, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of all tiny variants with one seed, and of one with another; with table, figures and plot."""
    folder = tmp_path_factory.mktemp("ablate")
    outcome = ablate("--seeds", "13", "--output", folder / "runs")
    assert outcome.exit_code == 0, outcome.output
    files = ["--table", folder / "table.md", "--json", folder / "all.json", "--plot", folder / "curves.svg"]
    outcome = ablate("few", "--seeds", "13,14", "--output", folder / "runs", *files)
    assert outcome.exit_code == 0, outcome.output
    (folder / "told.txt").write_text(outcome.stderr, encoding="utf-8")
    (folder / "shown.txt").write_text(outcome.stdout, encoding="utf-8")
    return folder


def test_one_table_of_all_results(finished: Path) -> None:
    shown = (finished / "shown.txt").read_text(encoding="utf-8")
    assert all(what in shown for what in ("eight paragraphs", "adapters", "goes on", "read at 0.5", "against few"))
    assert "few" in (finished / "table.md").read_text(encoding="utf-8")
    rows = {row["name"]: row for row in json.loads((finished / "all.json").read_text(encoding="utf-8"))}
    assert [(name, [run["seed"] for run in row["runs"]]) for name, row in rows.items()] == [
        ("few", [13, 14]),
        ("lora", [13]),
        ("second", [13]),
        ("half", [13]),
    ]
    weights = load_bundle(finished / "runs" / "few" / "13" / "bundle").model
    assert rows["few"]["parameters"] == sum(p.numel() for p in weights.parameters())
    heads = sum(p.numel() for name, p in weights.named_parameters() if not name.startswith("encoder."))
    # two layers of four square matrices (32 + 32), one up and one down (32 + 64), of rank 2
    assert rows["lora"]["parameters"] == heads + 2 * 2 * (4 * 64 + 2 * 96)
    assert rows["few"]["minutes"] > 0
    assert (rows["half"]["minutes"], rows["half"]["parameters"]) == (None, None)
    assert [rows[name]["runs"][0]["real"] for name in rows] == [8, 30, 30, 8]
    assert {"real alone", "8", "30"} <= set(texts(finished / "curves.svg"))


def test_what_is_there_is_not_made_again(finished: Path) -> None:
    told = (finished / "told.txt").read_text(encoding="utf-8")
    assert "1 of 2: few, seed 13, done before" in told
    assert "2 of 2: few, seed 14\n" in told
    assert told.count("training on") == 1


def test_only_what_others_need_is_kept(finished: Path) -> None:
    runs = finished / "runs"
    kept = {str(path.relative_to(runs)) for path in runs.glob("*/13/*") if path.is_dir()}
    assert kept == {"few/13/bundle"}
    assert sorted(path.name for path in (runs / "half" / "13").iterdir()) == ["result.json"]


def test_decoding_changes_what_it_says_and_no_more(finished: Path) -> None:
    few, half = (
        json.loads((finished / "runs" / name / "13" / "result.json").read_text(encoding="utf-8"))["report"]
        for name in ("few", "half")
    )
    assert few["topics"] == half["topics"]
    assert few["voices"]["narrator"] == half["voices"]["narrator"]


def test_a_result_of_other_making_is_refused(ablate: Script, finished: Path, tmp_path: Path, write: Write) -> None:
    rows = (finished / "runs" / "few" / "13" / "result.json").read_text(encoding="utf-8")
    folder = tmp_path / "few" / "13"
    folder.mkdir(parents=True)
    altered = json.loads(rows)
    altered["made_from"]["configurations"][0]["training"]["epochs"] = 5
    altered["made_from"]["data"] = "0" * 64
    (folder / "result.json").write_text(json.dumps(altered), encoding="utf-8")
    outcome = ablate("lora", "--seeds", "13", "--output", tmp_path)
    assert outcome.exit_code == 1
    message = " ".join(outcome.stderr.split())
    assert "few/13 was made from something else (configuration, data changed); remove that folder" in message
    assert not (tmp_path / "lora").exists()


def test_a_result_from_before_a_key_came_in_still_counts(
    tiny_variants: Path, corpus_file: Path, finished: Path
) -> None:
    path = finished / "runs" / "few" / "14" / "result.json"
    before = path.read_text(encoding="utf-8")
    older = json.loads(before)
    del older["made_from"]["configurations"][0]["data"]["max_paragraphs"]
    path.write_text(json.dumps(older), encoding="utf-8")
    bench = Bench(
        read_ablations(tiny_variants), (str(corpus_file),), finished / "runs", False, Console(file=io.StringIO())
    )
    found = bench.result("few", 14)
    path.write_text(before, encoding="utf-8")
    assert found == bench.result("few", 14)
    assert bench.result("few", 15) is None


def test_an_interrupted_run_goes_on(ablate: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = trainer_module.ProgressDisplay.on_step_end

    def interrupt(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        usual(self, args, state, control, **kwargs)
        if state.global_step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    arguments = ("few", "lora", "--seeds", "13", "--output", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.ProgressDisplay, "on_step_end", interrupt)
        outcome = ablate(*arguments)
    assert outcome.exit_code == 130
    assert "stopped; the same command goes on from here" in outcome.stderr
    assert not list(tmp_path.glob("*/*/result.json"))
    outcome = ablate(*arguments)
    assert outcome.exit_code == 0, outcome.output
    kept = {p.parent.parent.name: json.loads(p.read_text(encoding="utf-8")) for p in tmp_path.glob("*/13/result.json")}
    assert kept["few"]["minutes"] is None  # of a run in two parts nobody knows
    assert kept["lora"]["minutes"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "13,x"], "`--seeds 13,x` must be whole numbers joined by commas, as in 13,14,15"),
        (["fw"], "unknown variant or group `fw`, did you mean `few`?"),
        (["--seeds", "99999999999"], "`seed` must be a whole number"),
        (["--config", "none.yaml"], "cannot read the ablations none.yaml"),
    ],
)
def test_the_script_says_what_is_wrong(ablate: Script, tmp_path: Path, arguments: list[str], message: str) -> None:
    outcome = ablate(*arguments, "--output", tmp_path)
    assert outcome.exit_code == 1
    assert message in " ".join(outcome.stderr.split())


def test_data_must_be_named(ablate: Script) -> None:
    outcome = ablate(data=None)
    assert outcome.exit_code == 1
    assert "name the labelled real paragraphs: --data realtrain.jsonl" in outcome.stderr


def test_the_list(ablate: Script, finished: Path) -> None:
    outcome = ablate("--list", "--output", finished / "runs", data=None)
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines() == [
        "g",
        "  few: eight paragraphs (2 done)",
        "  lora: adapters (1 done)",
        "  second: goes on (1 done)",
        "  half: read at 0.5 (1 done)",
    ]


def test_a_foreign_folder_is_no_result(finished: Path, tiny_variants: Path, corpus_file: Path) -> None:
    bench = Bench(read_ablations(tiny_variants), (str(corpus_file),), finished / "runs", False, Console())
    (finished / "runs" / "few" / "notes").mkdir()
    assert bench.seeds("few") == [13, 14]
    assert bench.seeds("nobody") == []
