"""`detente train`, `detente evaluate` and what stands beside them, as the console script runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from detente.errors import DetenteError
from detente_training import cli
from detente_training.annotation import LabelledParagraph
from detente_training.suite import SuiteReport
from detente_training.whole_files import whole_file

if TYPE_CHECKING:
    from detente_training.config import TrainConfig

Config = Callable[..., "TrainConfig"]
Write = Callable[[Path, Iterable[Any]], Path]
ROOT = Path(__file__).parents[2]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the console script in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "200")

    def made(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["detente", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.app()
        code = stopped.value.code
        return Ran(code if isinstance(code, int) else 0, *capsys.readouterr())

    return made


@pytest.fixture
def recipe(tiny_config: Config, tmp_path: Path) -> Path:
    """A recipe of the tiny encoder that names no data."""
    config = tiny_config("training.epochs=1")
    config = config.model_copy(update={"data": config.data.model_copy(update={"target": ()})})
    path = tmp_path / "recipe.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    return path


def test_train(run: Run, recipe: Path, corpus_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "mine"
    done = run("train", recipe, "--data", corpus_file, "--set", "seed=3", "--set", "training.epochs=2", "-o", folder)
    assert done.code == 0, done.err
    assert "validation" in done.out
    assert "tiny.jsonl" in done.out
    assert f"bundle: {folder / 'bundle'}" in done.out
    assert f"try it: detente tag examples/envoy.txt --model {folder / 'bundle'}" in done.out
    assert "epoch 2  validation  mean" in done.err
    written = (folder / "config.yaml").read_text(encoding="utf-8")
    assert "seed: 3\n" in written
    assert "epochs: 2.0\n" in written
    assert f"- {corpus_file}\n" in written

    again = run("train", recipe, "--data", corpus_file, "--output", folder)
    assert again.code == 1
    assert again.err.strip() == (
        f"error: {folder} holds a run already; go on with it by --resume, or name another folder with --output"
    )
    assert run("info", folder).code == 0


def test_every_mistake_of_a_configuration_at_once(run: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("training: {learning_rat: 1, epochs: none}\nencoder: 3\n", encoding="utf-8")
    done = run("train", recipe, "--set", "sed=1", "--set", "training.batch_size=0", "--output", tmp_path / "run")
    assert done.code == 1
    assert done.out == ""
    assert done.err.splitlines() == [
        f"error: {recipe} does not hold:",
        "  - there is nothing to train on: name labelled files with `--data` or under `data.files`",
        "  - `encoder` must be a text, not 3",
        "  - `training.epochs` must be a number (above 0), not 'none'",
        "  - `training.batch_size` must be a whole number (at least 1), not 0",
        "  - unknown key `training.learning_rat`, did you mean `learning_rate`?",
        "  - unknown key `sed`, did you mean `seed`?",
    ]
    assert not (tmp_path / "run").exists()


def test_every_mistake_of_the_data_at_once(run: Run, recipe: Path, tmp_path: Path) -> None:
    data = tmp_path / "bad.jsonl"
    data.write_text('{"id": "a", "document": "a", "text": "Rice.", "topics": ["sprot"]}\n{"id": \n', encoding="utf-8")
    done = run("train", recipe, "--data", data, "--data", tmp_path / "none.csv", "--output", tmp_path / "run")
    assert done.code == 1
    assert done.err.startswith("error: the labelled data has 3 mistakes:\n")
    assert f"{data}:1: unknown topic `sprot`" in done.err
    assert f"{data}:2: " in done.err
    assert f"{tmp_path / 'none.csv'}: no such file" in done.err


def test_ctrl_c_exits_with_130_and_resume_goes_on(
    run: Run, recipe: Path, corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detente_training.trainer import ProgressDisplay

    def interrupt(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    command = ("train", recipe, "--data", corpus_file, "--output", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(ProgressDisplay, "on_step_end", interrupt)
        done = run(*command)
    assert done.code == 130
    assert "stopped; the same command with --resume goes on from step 1" in done.err
    done = run(*command, "--resume")
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "bundle" / "manifest.json").is_file()


def test_evaluate(run: Run, trained: Path, corpus_file: Path, tmp_path: Path) -> None:
    figures, errors = tmp_path / "figures.json", tmp_path / "errors.jsonl"
    done = run(
        "evaluate", trained, corpus_file, "--split", "train", "--by", "style,split",
        "--json", figures, "--errors", errors, "--bootstrap", 50, "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert f"{trained} on {corpus_file}, split train: 30 paragraphs, 5 documents, 50 resamples" in done.out
    for shown in ("topics macro-F1", "voice+stance F1", "Paragraph stance: confusion", "ECE voice presence"):
        assert shown in done.out
    assert "By style (n: support)" in done.out
    assert "By split (n: support)" in done.out
    content = json.loads(figures.read_text(encoding="utf-8"))
    assert (content["model"], content["data"], content["split"]) == (str(trained), ["tiny.jsonl"], "train")
    assert content["paragraphs"] == 30
    assert content["topics"]["macro"]["f1"]["support"] == 30
    assert {style: report["paragraphs"] for style, report in content["by"]["style"].items()} == {"oped": 18, "news": 12}
    assert list(content["by"]["split"]) == ["train"]
    mistakes = [json.loads(line) for line in errors.read_text(encoding="utf-8").splitlines()]
    assert [m["confidence"] for m in mistakes] == sorted((m["confidence"] for m in mistakes), reverse=True)
    assert {m["task"] for m in mistakes} <= {"topic", "voice", "stance", "paragraph_stance"}
    assert f"wrote {len(mistakes):,} mistakes to {errors}" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["errors.jsonl", "figures.json"]


def test_evaluate_is_what_training_wrote(run: Run, trained: Path, corpus_file: Path, tmp_path: Path) -> None:
    done = run("evaluate", trained / "bundle", corpus_file, "--split", "test", "--json", tmp_path / "figures.json")
    assert done.code == 0, done.err
    measured = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    stored = json.loads((trained / "bundle" / "metrics.json").read_text(encoding="utf-8"))["tiny.jsonl"]
    for task, figure in (("topics", "macro"), ("voices", "with_stance")):
        assert measured[task][figure]["f1"]["value"] == pytest.approx(stored[task][figure]["f1"]["value"])
    assert measured["stance"]["confusion"] == stored["stance"]["confusion"]


@pytest.fixture
def suite_file(write: Write, mark: Callable[..., LabelledParagraph], tmp_path: Path) -> Path:
    """Two minimal pairs."""
    texts = {
        "n-1": ("negation", "{{e|Varga}} said talks must go on.", "{{p|Varga}} said talks must not go on."),
        "w-1": ("who_said_it", "{{n|Okoro}} said that this was poor.", "{{n|Varga}} said that this was poor."),
    }
    rows = [
        mark(text, f"{pair}-{side}", document=pair, split="test").to_dict() | {"phenomenon": phenomenon}
        for pair, (phenomenon, *both) in texts.items()
        for side, text in zip("ab", both, strict=True)
    ]
    return write(tmp_path / "pairs.jsonl", rows)


def test_evaluate_a_suite(run: Run, trained: Path, suite_file: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = run("evaluate", trained, "--suite", suite_file, "--json", figures, "--device", "cpu")
    assert done.code == 0, done.err
    assert f"{trained} on {suite_file}\n" in done.out
    for shown in ("in question [95%]", "end to end [95%]", "negation", "who_said_it", "all"):
        assert shown in done.out
    assert "topics macro-F1" not in done.out
    content = json.loads(figures.read_text(encoding="utf-8"))
    assert list(content) == ["model", "suite"]
    assert content["suite"]["data"] == "pairs.jsonl"
    report = SuiteReport.from_dict(content["suite"])
    assert {name: scores.pairs for name, scores in report.phenomena.items()} == {"negation": 1, "who_said_it": 1}
    assert report.all.pairs == 2


def test_evaluate_data_and_a_suite_together(
    run: Run, trained: Path, corpus_file: Path, suite_file: Path, tmp_path: Path
) -> None:
    figures, errors = tmp_path / "figures.json", tmp_path / "errors.jsonl"
    done = run(
        "evaluate", trained, corpus_file, "--suite", suite_file, "--split", "validation",
        "--json", figures, "--errors", errors, "--bootstrap", 0,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.out.index("topics macro-F1") < done.out.index("in question [95%]")
    content = json.loads(figures.read_text(encoding="utf-8"))
    assert (content["data"], content["split"], content["paragraphs"]) == (["tiny.jsonl"], "validation", 12)
    assert content["suite"]["all"]["pairs"] == 2
    documents = {json.loads(line)["document"] for line in errors.read_text(encoding="utf-8").splitlines()}
    assert documents.isdisjoint({"n-1", "w-1"})


def test_evaluate_needs_something_to_measure_on(run: Run, trained: Path) -> None:
    done = run("evaluate", trained)
    assert done.code == 1
    assert done.err.strip() == (
        "error: there is nothing to measure on; name labelled files or folders after the model, or minimal pairs by "
        "--suite, as in `detente evaluate small --suite tests/suite`"
    )


def test_options_about_labelled_files_need_labelled_files(run: Run, trained: Path, suite_file: Path) -> None:
    done = run("evaluate", trained, "--suite", suite_file, "--split", "test", "--by", "style")
    assert done.code == 1
    assert done.err.strip() == (
        "error: --split, --by: meant for labelled files, and none is named; name them after the model, beside --suite, "
        "or leave this out"
    )


def test_what_is_no_suite_is_told_before_the_work(run: Run, trained: Path, corpus_file: Path) -> None:
    done = run("evaluate", trained, corpus_file, "--suite", corpus_file)
    assert done.code == 1
    assert f"error: {corpus_file} is no suite of minimal pairs:" in done.err
    assert "`d0-0` names no `phenomenon`" in done.err
    assert done.out == ""


def test_the_encoder_is_passed_on(run: Run, trained: Path, tiny_encoder: Path, corpus_file: Path) -> None:
    article = ROOT / "examples" / "envoy.txt"
    for command in (("evaluate", trained, corpus_file), ("tag", article, "--model", trained)):
        done = run(*command, "--encoder", tiny_encoder)
        assert done.code == 1
        assert f"brings its own encoder; leave out {tiny_encoder}" in done.err


def test_outputs_that_exist_are_refused(run: Run, trained: Path, corpus_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("mine", encoding="utf-8")
    for option in ("--json", "--errors"):
        done = run("evaluate", trained, corpus_file, option, out)
        assert done.code == 1
        assert done.err.strip() == f"error: {out} exists already; name another file or give --overwrite"
    assert out.read_text(encoding="utf-8") == "mine"
    done = run("evaluate", trained, corpus_file, "--split", "test", "--json", out, "--overwrite", "--bootstrap", 0)
    assert done.code == 0, done.err
    assert json.loads(out.read_text(encoding="utf-8"))["resamples"] == 0


def test_an_output_that_cannot_be_written_is_told_before_the_work(
    run: Run, trained: Path, corpus_file: Path, tmp_path: Path
) -> None:
    for option in ("--json", "--errors"):
        done = run("evaluate", trained, corpus_file, option, tmp_path / "none" / "out.json")
        assert done.code == 1
        assert f"error: cannot write {tmp_path / 'none' / 'out.json'}: there is no folder" in done.err
        assert "Evaluation" not in done.out


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "out.json"

    def fail() -> None:
        with whole_file(path) as file:
            file.write("half")
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fail()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder").mkdir()

    def replace_folder() -> None:
        with whole_file(tmp_path / "folder") as file:
            file.write("text")

    with pytest.raises(DetenteError, match=r"cannot write .*folder: "):
        replace_folder()
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "tset"), "there is no split `tset`; use train, validation, test"),
        (("--by", "stile"), "cannot group by `stile`, did you mean `style`?"),
        (("--by", "style,genre"), "cannot group by `genre`"),
        (("--device", "abacus"), "no device `abacus` on this machine"),
    ],
)
def test_mistakes_of_evaluate(
    run: Run, trained: Path, corpus_file: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run("evaluate", trained, corpus_file, *arguments)
    assert done.code == 1
    assert f"error: {message}" in done.err
    assert done.out == ""


def test_a_split_that_the_data_does_not_have(
    run: Run, trained: Path, corpus: list[LabelledParagraph], write: Write, tmp_path: Path
) -> None:
    path = write(tmp_path / "train.jsonl", [p for p in corpus if p.split == "train"])
    done = run("evaluate", trained, path, "--split", "test")
    assert done.code == 1
    assert "no paragraph has the split `test`; the data have: train" in done.err


def test_no_such_model_and_no_such_data(run: Run, trained: Path, corpus_file: Path, tmp_path: Path) -> None:
    done = run("evaluate", tmp_path / "model", corpus_file)
    assert (done.code, "there is no model" in done.err) == (1, True)
    done = run("evaluate", trained, tmp_path / "data.jsonl")
    assert (done.code, "data.jsonl: no such file" in done.err) == (1, True)
    broken = tmp_path / "broken"
    shutil.copytree(trained / "bundle", broken)
    (broken / "calibration.json").write_text("{}", encoding="utf-8")
    done = run("evaluate", broken, corpus_file)
    assert (done.code, "calibration.json" in done.err) == (1, True)


def test_wrong_usage_exits_with_2(run: Run) -> None:
    assert run("evaluate").code == 2
    assert run("train", "--epochs", "3").code == 2
    assert run("corpus", "chekc").code == 2


def test_the_corpus_commands_are_mounted(run: Run, corpus_file: Path) -> None:
    done = run("corpus", "check", corpus_file)
    assert done.code == 0
    assert "No mistake in 48 paragraphs of 8 documents" in done.out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((), ("train", "evaluate", "corpus", "tag", "info")),
        (("train",), ("--data", "--set", "--output", "--resume", "detente train configs/quick.yaml")),
        (("evaluate",), ("--suite", "--split", "--by", "--json", "--errors", "detente evaluate small training/corpus")),
        (("evaluate",), ("--encoder", "detente[base]", "detente evaluate small --suite tests/suite")),
        (("corpus",), ("check", "join")),
        (("corpus", "check"), ("--codebook",)),
        (("corpus", "join"), ("--output", "--text-column")),
        (("tag",), ("--output", "--long", "--encoder", "detente[base]")),
        (("info",), ("--card",)),
    ],
)
def test_help(run: Run, command: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert done.code == 0
    for word in words:
        assert word in done.out


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "sklearn", "pandas", "pyarrow", "datasets", "peft", "numpy")
    code = f"import sys, detente_training.cli; print([m for m in {heavy} if m in sys.modules])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "model"), str(ROOT / "training")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
