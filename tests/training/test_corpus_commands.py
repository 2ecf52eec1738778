import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from detente_training.corpus_commands import corpus_app
from detente_training.standoff import sha1

CORPUS = Path(__file__).parents[2] / "training" / "corpus"
TEXT = "The envoy said talks would go on."
run = CliRunner().invoke


def jsonl(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in records), encoding="utf-8")
    return path


@pytest.fixture
def standoff(tmp_path: Path) -> Path:
    labels = {"topics": ["diplomacy"], "narrator": None, "voices": []}
    known = {"id": "a-0", "document": "a", "sha1": sha1(TEXT), "length": len(TEXT)}
    unknown = {"id": "a-1", "document": "a", "sha1": sha1("gone"), "length": 4}
    return jsonl(tmp_path / "standoff.jsonl", known | labels, unknown | labels)


def test_check_counts_what_is_clean() -> None:
    result = run(corpus_app, ["check", str(CORPUS / "OP.jsonl")])
    assert result.exit_code == 0
    assert "No mistake in 431 paragraphs of 97 documents; 0 warnings." in result.stdout
    assert "oped" in result.stdout
    assert "military_tension" in result.stdout


def test_check_lists_every_mistake_with_its_line_and_fails(tmp_path: Path) -> None:
    voices = [{"start": 1, "end": 9, "stance": "hostile"}]
    path = jsonl(tmp_path / "a.jsonl", {"id": "a", "document": "a", "text": TEXT, "voices": voices}, {"id": "a"})
    result = run(corpus_app, ["check", str(path), str(tmp_path / "b.csv")])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{path}:1: voice 1: unknown stance `hostile`; allowed: engagement, pressure, mixed, neutral",
        f"{path}:1: voice 1: 'T[he envoy] said talks ' begins inside a word",
        f"{path}:2: `text` is missing",
        f"{path}:2: `document` is missing",
        f"{path}:2: the id `a` was used before, at {path}:1",
        f"{tmp_path / 'b.csv'}: no such file",
        "6 mistakes found, 0 warnings.",
    ]


def test_check_warns_and_passes(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"id": "a", "document": "a", "text": TEXT, "topic": []})
    result = run(corpus_app, ["check", str(path)])
    assert result.exit_code == 0
    assert "did you mean `topics`?" in result.stderr
    assert "No mistake in 1 paragraph of 1 document; 1 warning." in result.stdout


def test_check_takes_another_codebook(tmp_path: Path) -> None:
    book = tmp_path / "book.yaml"
    book.write_text("version: 1\ntopics: [{name: sport}]\nstances: [{name: plain}]\n", encoding="utf-8")
    path = jsonl(tmp_path / "a.jsonl", {"id": "a", "document": "a", "text": TEXT, "topics": ["sport"]})
    assert run(corpus_app, ["check", str(path), "--codebook", str(book)]).exit_code == 0
    result = run(corpus_app, ["check", str(path), "--codebook", str(tmp_path / "none.yaml")])
    assert result.exit_code == 1
    assert "error: cannot read the codebook" in result.stderr


def test_join_writes_what_it_found_and_says_how_much(tmp_path: Path, standoff: Path) -> None:
    texts, output = jsonl(tmp_path / "texts.jsonl", {"body": TEXT}), tmp_path / "joined.jsonl"
    result = run(corpus_app, ["join", str(standoff), str(texts), "--output", str(output)])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "found 1 of 2 paragraphs, 1 missing",
        "missing: a-1",
        f"wrote {output}",
    ]
    assert json.loads(output.read_text(encoding="utf-8"))["text"] == TEXT
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "joined.jsonl",
        "standoff.jsonl",
        "texts.jsonl",
    ]
    assert run(corpus_app, ["check", str(output)]).exit_code == 0


def test_join_with_nothing_found_fails_and_writes_nothing(tmp_path: Path, standoff: Path) -> None:
    texts, output = jsonl(tmp_path / "texts.jsonl", {"body": "other"}, {"x": 1}), tmp_path / "joined.jsonl"
    result = run(corpus_app, ["join", str(standoff), str(texts), "--output", str(output)])
    assert result.exit_code == 1
    assert "found 0 of 2 paragraphs, 2 missing" in result.stdout
    assert "error: no paragraph was found, nothing was written" in result.stderr
    assert not output.exists()


def test_join_does_not_overwrite_unasked(tmp_path: Path, standoff: Path) -> None:
    texts, output = jsonl(tmp_path / "texts.jsonl", {"body": TEXT}), tmp_path / "joined.jsonl"
    output.write_text("mine", encoding="utf-8")
    arguments = ["join", str(standoff), str(texts), "--output", str(output)]
    refused = run(corpus_app, arguments)
    assert refused.exit_code == 1
    assert "exists; name another file, or replace it with --overwrite" in refused.stderr
    assert output.read_text(encoding="utf-8") == "mine"
    assert run(corpus_app, [*arguments, "--overwrite"]).exit_code == 0
    assert json.loads(output.read_text(encoding="utf-8"))["id"] == "a-0"


def test_join_tells_of_rows_left_out_and_of_a_wrong_column(tmp_path: Path, standoff: Path) -> None:
    texts, output = tmp_path / "texts.jsonl", tmp_path / "joined.jsonl"
    texts.write_text("{\n" * 7 + json.dumps({"body": TEXT}) + "\n", encoding="utf-8")
    result = run(corpus_app, ["join", str(standoff), str(texts), "--output", str(output)])
    assert result.exit_code == 0
    assert result.stderr.count("warning: left out") == 6
    assert "warning: left out 2 more rows that cannot be read" in result.stderr
    wrong = run(
        corpus_app,
        ["join", str(standoff), str(texts), "--output", str(output), "--overwrite", "--text-column", "text"],
    )
    assert wrong.exit_code == 1
    assert "no row of the texts has the column `text`; columns there: body" in wrong.stderr


def test_join_into_a_folder_that_is_not_there_is_an_error(tmp_path: Path, standoff: Path) -> None:
    texts, output = jsonl(tmp_path / "texts.jsonl", {"body": TEXT}), tmp_path / "none" / "joined.jsonl"
    result = run(corpus_app, ["join", str(standoff), str(texts), "--output", str(output)])
    assert result.exit_code == 1
    assert f"error: cannot write {output}: No such file or directory" in result.stderr


@pytest.mark.parametrize("command", ["check", "join"])
def test_help_has_an_example(command: str) -> None:
    result = run(corpus_app, [command, "--help"])
    assert result.exit_code == 0
    assert f"detente corpus {command} " in result.stdout


def test_the_commands_load_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'sklearn', 'pandas', 'pyarrow', 'datasets', 'rich.table'}"
    code = f"import sys, detente_training.corpus_commands; print(sorted({heavy} & set(sys.modules)))"
    path = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{path}/model:{path}/training"},
    )
    assert done.stdout == "[]\n"


def test_a_title_with_a_lone_surrogate_is_written_as_an_escape(tmp_path: Path, standoff: Path) -> None:
    texts = jsonl(tmp_path / "texts.jsonl", {"body": TEXT, "title": "half \ud800 a pair"})
    output = tmp_path / "joined.jsonl"
    assert run(corpus_app, ["join", str(standoff), str(texts), "--output", str(output)]).exit_code == 0
    assert json.loads(output.read_text(encoding="utf-8"))["title"] == "half \ud800 a pair"
