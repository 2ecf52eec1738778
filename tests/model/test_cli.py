"""`detente tag` and `detente info` on real files, over a tiny bundle."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from detente.cli import app, run
from detente.errors import DetenteError

ARTICLE = "Border talks\n\nThe envoy said talks must resume.\n\nPyongyang has denied the abuses, officials said.\n"
PAGE = (
    "<html><body><nav>Home</nav><article><h1>Border talks</h1><p>The envoy urged the government to keep up the "
    "pressure on its neighbour, officials said on Monday.</p><p>Opposition groups wanted reconciliation and trade, "
    "saying that contact would give the other side reasons to open up.</p></article></body></html>"
)
ROWS = [
    {"id": "a", "text": "The envoy said talks must resume.", "outlet": "X"},
    {"id": "b", "text": "Pyongyang has denied the abuses.", "outlet": "Y"},
]
Run = Callable[..., Any]


@pytest.fixture
def tag(tiny_bundle: Path) -> Run:
    def call(*arguments: object, **settings: Any) -> Any:
        words = [str(a) for a in arguments]
        return CliRunner().invoke(app, ["tag", *words, "--model", str(tiny_bundle), "--device", "cpu"], **settings)

    return call


@pytest.fixture
def article(tmp_path: Path) -> Path:
    path = tmp_path / "article.txt"
    path.write_text(ARTICLE, encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_article_on_the_terminal(tag: Run, article: Path) -> None:
    result = tag(article)
    assert result.exit_code == 0
    assert "Border talks" in result.stdout
    assert "The envoy said talks must resume." in result.stdout
    assert "3 rows in = 2 tagged + 1 untagged (1 heading) + 0 rejected" in result.stderr


def test_headings_too_with_all(tag: Run, article: Path) -> None:
    assert "3 rows in = 3 tagged + 0 rejected" in tag(article, "--all").stderr


def test_a_page(tag: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE, encoding="utf-8")
    result = tag(page, "--output", "-")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["text"][:9] for row in rows if row["tagged"]] == ["The envoy", "Oppositio"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_has_the_same_rows(tag: Run, table: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"tags{suffix}"
    result = tag(table, "--output", output)
    assert result.exit_code == 0
    assert "2 rows in = 2 tagged + 0 rejected" in result.stderr
    if suffix == ".jsonl":
        rows = lines(output)
    elif suffix == ".csv":
        with output.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert (tmp_path / "tags.voices.csv").exists()
    else:
        rows = pq.read_table(output).to_pylist()
    assert [row["id"] for row in rows] == ["a", "b"]
    assert [row["outlet"] for row in rows] == ["X", "Y"]
    assert 0 <= float(rows[0]["topic_diplomacy"]) <= 1


def test_one_row_per_voice(tag: Run, table: Path, tmp_path: Path) -> None:
    paragraphs, voices = tmp_path / "p.jsonl", tmp_path / "v.jsonl"
    assert tag(table, "--output", paragraphs).exit_code == 0
    assert tag(table, "--long", "--output", voices).exit_code == 0
    assert [(r["id"], r["mention"]) for r in lines(voices)] == [
        (p["id"], v["mention"]) for p in lines(paragraphs) for v in p["voices"]
    ]


def test_standard_input_and_output(tag: Run) -> None:
    result = tag("-", "--output", "-", input="".join(json.dumps(row) + "\n" for row in ROWS))
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["a", "b"]


def test_a_folder(tag: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(ARTICLE, encoding="utf-8")
    (folder / "b.csv").write_text("id,text\nq,Talks resumed.\n", encoding="utf-8")
    (folder / "c.txt").write_bytes(b"")
    output = tmp_path / "tags.jsonl"
    result = tag(folder, "--output", output)
    assert "5 rows in = 3 tagged + 1 untagged (1 heading) + 1 rejected" in result.stderr
    assert len(lines(output)) == 4
    (rejected,) = lines(tmp_path / "tags.rejected.jsonl")
    assert rejected["source"].endswith("c.txt")


def test_a_broken_line_in_the_middle_is_set_aside(tag: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{json.dumps(ROWS[0])}\n{{"id": "broken", \n{json.dumps(ROWS[1])}\n', encoding="utf-8")
    output = tmp_path / "tags.jsonl"
    result = tag(path, "--output", output)
    assert result.exit_code == 0
    assert "3 rows in = 2 tagged + 1 rejected" in result.stderr
    assert [row["id"] for row in lines(output)] == ["a", "b"]
    assert [row["line"] for row in lines(tmp_path / "tags.rejected.jsonl")] == [2]


def test_a_paragraph_of_two_megabytes_is_set_aside(tag: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"id": "big", "text": "word " * 400_000}) + f"\n{json.dumps(ROWS[0])}\n")
    output = tmp_path / "tags.jsonl"
    result = tag(path, "--output", output)
    assert "2 rows in = 1 tagged + 1 rejected" in result.stderr
    (rejected,) = lines(tmp_path / "tags.rejected.jsonl")
    assert len(rejected["raw"]["text"]) == 2_000_000


def test_an_output_that_exists_is_refused(tag: Run, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "tags.jsonl"
    output.write_text("mine\n", encoding="utf-8")
    result = tag(table, "--output", output)
    assert isinstance(result.exception, DetenteError)
    assert "--overwrite" in str(result.exception)
    assert output.read_text(encoding="utf-8") == "mine\n"
    assert tag(table, "--output", output, "--overwrite").exit_code == 0
    assert len(lines(output)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty|no rows|no text"), (bytes(range(256)) * 9, "binary data, not text"), (b" \n\n ", "no paragraph|empty|no text")],
)
def test_unusable_files_are_named(tag: Run, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(DetenteError, match=message):
        raise tag(path).exception


def test_a_column_that_is_not_there_names_those_that_are(tag: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,body\n1,Talks resumed.\n", encoding="utf-8")
    with pytest.raises(DetenteError, match="body"):
        raise tag(path).exception
    assert tag(path, "--text-column", "body").exit_code == 0


def test_an_unknown_model_says_what_there_is(article: Path) -> None:
    result = CliRunner().invoke(app, ["tag", str(article), "--model", "nobody/nothing"])
    assert "`nobody/nothing` is not on this machine and no hub is in reach" in str(result.exception)


def test_an_output_without_a_known_ending_is_refused(tag: Run, article: Path, tmp_path: Path) -> None:
    with pytest.raises(DetenteError, match="cannot tell the format"):
        raise tag(article, "--output", tmp_path / "tags.xml").exception


def test_hostile_text_cannot_steer_the_terminal(tag: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "The envoy \x1b[2J\x1b]0;owned\x07 said \u202etalks [red]must[/red] go on."}) + "\n")
    shown = tag(path).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\u202e" not in shown
    assert "[red]must[/red]" in " ".join(shown.split())


def test_ctrl_c_keeps_what_was_tagged(
    tag: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detente.records.lines import JsonlWriter

    written = JsonlWriter.write

    def interrupted(self: JsonlWriter, item: Any) -> None:
        written(self, item)
        raise KeyboardInterrupt

    monkeypatch.setattr(JsonlWriter, "write", interrupted)
    output = tmp_path / "tags.jsonl"
    result = tag(table, "--output", output)
    assert result.exit_code in (1, 130)
    assert not output.exists()
    (kept,) = tmp_path.glob("tags*partial*")
    assert [row["id"] for row in lines(kept)] == ["a"]


def test_errors_are_one_message_and_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["detente", "tag", "nowhere.txt"])
    with pytest.raises(SystemExit) as stop:
        run()
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("error: nowhere.txt does not exist")


def test_info(tiny_bundle: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(tiny_bundle)])
    assert result.exit_code == 0
    assert "tiny-bert" in result.stdout
    assert "engagement, pressure, mixed, neutral" in result.stdout
    assert "A tiny model" in CliRunner().invoke(app, ["info", str(tiny_bundle), "--card"]).stdout


@pytest.mark.parametrize("command", ["tag", "info"])
def test_help_teaches_by_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert f"detente {command}" in result.stdout


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys, detente.cli; "
        "print([m for m in ('torch', 'transformers', 'sklearn', 'pandas', 'pyarrow', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
