"""The teacher's side of distillation: what it believes, word by word, and the folder that keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import torch

from detente.calibration import Calibration
from detente.codebook import Codebook, Label
from detente.decoding import Mention, find_mentions, sigmoid, softmax
from detente.documents import Paragraph
from detente.encoding import Window, windows, words
from detente.errors import DetenteError
from detente.network import DetenteConfig, DetenteModel
from detente.reader import NARRATOR_SPAN, Reader, Span
from detente.runtime import TorchRuntime
from detente_training import distil as module
from detente_training.distil import distil, soft_labels
from detente_training.soft_labels import SoftLabels, read_soft_labels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHORT = "“Accountability must come first,” said Marzuki Darusman, the U.N. rapporteur."
LONG = (
    "The envoy urged the government to keep up the pressure, while opposition groups wanted reconciliation. "
    "Pyongyang has denied the abuses but has refused to let inspectors in. These groups say trade and contact would "
    "give the North reasons to open up. The minister said drills would go on while the hotline stayed open. "
    "Officials hope that talks will resume; nobody spoke of sanctions, missiles or prison camps."
)
CALIBRATION = Calibration(
    topic_temperature=2.0, voice_temperature=1.5, narrator_temperature=0.5, stance_temperature=0.7
)


def paragraph(text: str, number: int = 0) -> Paragraph:
    return Paragraph(text, f"d:{number}", "d", number)


@pytest.fixture(scope="module")
def reader(networks: Callable[[str], DetenteModel], tokenizers: Callable[[str], PreTrainedTokenizerFast]) -> Reader:
    runtime = TorchRuntime(networks("bert"))
    return Reader(runtime, tokenizers("bert"), Codebook.default(), CALIBRATION, window_tokens=64, overlap_tokens=16)


def window_logits(reader: Reader, text: str) -> list[tuple[Window, npt.NDArray[np.float32], torch.Tensor]]:
    """Each window of a text with its voice logits (T, 3) and topic logits (K), every window read by itself."""
    found = []
    for window in windows([text], reader.tokenizer, reader.window_tokens, reader.overlap_tokens):
        with torch.inference_mode():
            output = reader.runtime.model(torch.from_numpy(window.input_ids)[None])  # type: ignore[attr-defined]
        found.append((window, output.voices[0].numpy(), output.topics[0]))
    return found


def furthest_from_an_edge(cut: Sequence[Window], start: int, end: int) -> int:
    """The window in whose inside a span stands deepest; edges of the paragraph are none."""
    distances = []
    for window in cut:
        real = window.offsets[window.offsets[:, 1] > window.offsets[:, 0]]
        left = start - int(real[0, 0]) if window.part else 10**9
        right = int(real[-1, 1]) - end if window.part < window.parts - 1 else 10**9
        distances.append(min(left, right))
    return distances.index(max(distances))


# --- what is believed


def test_words_have_the_probabilities_of_their_first_tokens(reader: Reader) -> None:
    (labels,) = soft_labels(reader, [paragraph(SHORT)])
    assert (labels.id, labels.document, labels.text) == ("d:0", "d", SHORT)
    ((window, logits, topics),) = window_logits(reader, SHORT)
    expected = softmax(logits[window.heads] / 1.5)
    assert labels.voices.shape == (len(words(SHORT)), 2)
    np.testing.assert_allclose(labels.voices, expected[:, 1:], atol=1e-3)
    assert labels.narrator == pytest.approx(1 - softmax(logits[0] / 0.5)[0], abs=1e-3)
    np.testing.assert_allclose(labels.topics, sigmoid(topics / 2.0), atol=1e-3)
    assert {labels.topics.dtype, labels.voices.dtype, labels.stances.dtype} == {np.dtype(np.float16)}


def test_words_of_a_paragraph_of_several_windows(reader: Reader) -> None:
    (labels,) = soft_labels(reader, [paragraph(LONG)])
    read = window_logits(reader, LONG)
    cut = [window for window, _, _ in read]
    assert len(cut) > 2
    spans = words(LONG)
    assert labels.voices.shape == (len(spans), 2)
    used = set()
    for number, (start, end) in enumerate(spans):
        best = furthest_from_an_edge(cut, start, end)
        used.add(best)
        window, logits, _ = read[best]
        (token,) = np.flatnonzero(window.heads & (window.offsets[:, 0] == start))
        np.testing.assert_allclose(labels.voices[number], softmax(logits[token] / 1.5)[1:], atol=1e-3)
    assert used == set(range(len(cut)))
    assert labels.narrator == pytest.approx(1 - softmax(read[0][1][0] / 0.5)[0], abs=1e-3)
    np.testing.assert_allclose(labels.topics, np.max([sigmoid(t / 2.0) for _, _, t in read], axis=0), atol=1e-3)


def seen(window: Window, mention: Mention) -> Span:
    """Characters of a candidate; the narrator's are (-1, -1)."""
    if mention.first == 0:
        return NARRATOR_SPAN
    return int(window.offsets[mention.first, 0]), int(window.offsets[mention.end - 1, 1])


@pytest.mark.parametrize("text", [SHORT, LONG])
def test_rows_of_stances_sum_to_the_presence(reader: Reader, text: str) -> None:
    (labels,) = soft_labels(reader, [paragraph(text)])
    read = window_logits(reader, text)
    cut = [window for window, _, _ in read]
    expected = {}
    for number, (window, logits, _) in enumerate(read):
        for mention in find_mentions(logits, window, CALIBRATION):
            span = seen(window, mention)
            # what another window sees more of is read there, so that no mention is there whole and cut as well
            if mention.presence >= 0.1 and (span == NARRATOR_SPAN or furthest_from_an_edge(cut, *span) == number):
                expected[span] = mention.presence
    assert len(expected) > 3
    rivals = {seen(w, m) for w, logits, _ in read for m in find_mentions(logits, w, CALIBRATION) if m.presence >= 0.1}
    assert (len(rivals) > len(expected)) == (text == LONG)
    assert labels.mentions == tuple(sorted(expected))
    assert labels.stances.shape == (len(expected), 4)
    presences = [expected[span] for span in labels.mentions]
    np.testing.assert_allclose(labels.stances.astype(np.float64).sum(axis=1), presences, atol=3e-3)
    _, asked = reader.read([text], [labels.mentions])[0]
    np.testing.assert_allclose(labels.stances, np.array(asked) * np.array(presences)[:, None], atol=3e-3)


def test_many_paragraphs_are_read_as_each_alone(reader: Reader) -> None:
    paragraphs = [paragraph(text, number) for number, text in enumerate((LONG, "", SHORT, " \u200b ", "…", SHORT))]
    together = soft_labels(replace(reader, batch_tokens=200), paragraphs)
    assert [labels.id for labels in together] == [f"d:{number}" for number in range(6)]
    for labels, one in zip(together, paragraphs, strict=True):
        (alone,) = soft_labels(reader, [one])
        assert labels.mentions == alone.mentions
        for name in ("topics", "voices", "stances"):
            np.testing.assert_allclose(getattr(labels, name), getattr(alone, name), atol=3e-3)
    assert together[1].voices.shape == (0, 2)
    assert set(together[1].mentions) <= {NARRATOR_SPAN}
    assert soft_labels(reader, []) == []


def test_a_codebook_of_topics_alone(tokenizers: Callable[[str], PreTrainedTokenizerFast], reader: Reader) -> None:
    book = Codebook("t", (Label("sport"), Label("weather")), (), ())
    encoder = reader.runtime.model.config.encoder  # type: ignore[attr-defined]
    model = DetenteModel(DetenteConfig(encoder=encoder, codebook=book.to_dict()))
    (labels,) = soft_labels(
        Reader(TorchRuntime(model), tokenizers("bert"), book, CALIBRATION, 64, 16), [paragraph(SHORT)]
    )
    assert labels.topics.shape == (2,)
    assert (labels.mentions, labels.stances.shape) == ((), (0, 0))


# --- the folder


PARAGRAPHS = [paragraph(f"{SHORT} {number}", number) for number in range(10)]


@pytest.fixture
def parts_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART", 4)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Stopped(BaseException):
    pass


def stop_after(done: int) -> Callable[[int], None]:
    def progress(number: int) -> None:
        if number >= done:
            raise Stopped

    return progress


@pytest.mark.usefixtures("parts_of_four")
def test_a_folder_holds_every_paragraph_once(reader: Reader, tmp_path: Path) -> None:
    done: list[int] = []
    assert distil(reader, iter(PARAGRAPHS), tmp_path / "a" / "soft", "teacher", done.append) == 10
    assert done == [4, 8, 10]
    names = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert sorted(contents(tmp_path / "a" / "soft")) == ["manifest.json", *names]
    manifest = json.loads((tmp_path / "a" / "soft" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["teacher"] == "teacher"
    assert list(manifest["parts"]) == names
    read = read_soft_labels([tmp_path / "a" / "soft"], Codebook.default())
    assert list(read) == [p.id for p in PARAGRAPHS]
    for labels in soft_labels(reader, PARAGRAPHS[:4]):
        assert read[labels.id].mentions == labels.mentions
        for name in ("topics", "voices", "stances"):
            np.testing.assert_array_equal(getattr(read[labels.id], name), getattr(labels, name))


@pytest.mark.usefixtures("parts_of_four")
def test_a_stopped_run_goes_on(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distil(reader, PARAGRAPHS, tmp_path / "unbroken", "teacher")
    with pytest.raises(Stopped):
        distil(reader, PARAGRAPHS, tmp_path / "soft", "teacher", stop_after(8))
    before = {path.name: path.stat() for path in (tmp_path / "soft").glob("*.parquet")}
    assert sorted(before) == ["part-00000.parquet", "part-00001.parquet"]
    read: list[int] = []

    def counted(reader: Reader, paragraphs: Sequence[Paragraph]) -> list[SoftLabels]:
        read.append(len(paragraphs))
        return soft_labels(reader, paragraphs)

    monkeypatch.setattr(module, "soft_labels", counted)
    done: list[int] = []
    assert distil(reader, PARAGRAPHS, tmp_path / "soft", "teacher", done.append) == 10
    assert (read, done) == ([2], [4, 8, 10])
    for name, stat in before.items():
        after = (tmp_path / "soft" / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)
    assert contents(tmp_path / "soft") == contents(tmp_path / "unbroken")
    distil(reader, PARAGRAPHS, tmp_path / "soft", "teacher")
    assert read == [2]


@pytest.mark.usefixtures("parts_of_four")
def test_a_run_stopped_while_it_writes_leaves_nothing_half_done(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distil(reader, PARAGRAPHS[:4], tmp_path / "soft", "teacher")

    def half(path: Path, *_: object) -> None:
        path.write_bytes(b"PAR1")
        assert path not in list(path.parent.glob("*.parquet"))  # nobody takes it for a finished one
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_soft_labels", half)
        with pytest.raises(Stopped):
            distil(reader, PARAGRAPHS, tmp_path / "soft", "teacher")
    assert sorted(contents(tmp_path / "soft")) == ["manifest.json", "part-00000.parquet"]
    assert distil(reader, PARAGRAPHS, tmp_path / "soft", "teacher") == 10


@pytest.mark.usefixtures("parts_of_four")
def test_a_file_that_was_deleted_is_made_again(reader: Reader, tmp_path: Path) -> None:
    distil(reader, PARAGRAPHS, tmp_path, "teacher")
    before = contents(tmp_path)
    (tmp_path / "part-00001.parquet").unlink()
    distil(reader, PARAGRAPHS, tmp_path, "teacher")
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("parts_of_four")
def test_another_teacher_or_other_paragraphs_are_refused(reader: Reader, tmp_path: Path) -> None:
    distil(reader, PARAGRAPHS, tmp_path, "teacher")
    before = contents(tmp_path)
    with pytest.raises(DetenteError, match="holds the soft labels of another model; name another folder"):
        distil(reader, PARAGRAPHS, tmp_path, "another teacher")
    changed = [*PARAGRAPHS[:5], replace(PARAGRAPHS[5], text="Rice was poor."), *PARAGRAPHS[6:]]
    for others in (changed, PARAGRAPHS[1:], PARAGRAPHS[:9]):
        with pytest.raises(DetenteError, match="holds the soft labels of other paragraphs; name another folder"):
            distil(reader, others, tmp_path, "teacher")
    with pytest.raises(DetenteError, match="holds the soft labels of more paragraphs; name another folder"):
        distil(reader, PARAGRAPHS[:8], tmp_path, "teacher")
    assert contents(tmp_path) == before


def test_nothing_to_read(reader: Reader, tmp_path: Path) -> None:
    assert distil(reader, [], tmp_path, "teacher") == 0
    assert contents(tmp_path) == {}
