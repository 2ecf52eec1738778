"""The committed suite of minimal pairs, reading one, and scoring it against literal values."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from detente.codebook import Codebook
from detente.errors import DataError
from detente_training.estimates import share
from detente_training.labelled import LabelledParagraph, check_labelled
from detente_training.predictions import PredictedVoice, Prediction, decided_stances, gold_mention_stances
from detente_training.suite import (
    Pair,
    SuiteReport,
    evaluate_suite,
    in_question,
    paragraphs_of,
    read_suite,
    render_suite,
    right_end_to_end,
    right_on_gold_mentions,
)

Mark = Callable[..., LabelledParagraph]
Write = Callable[[Path, Iterable[Any]], Path]

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "tests" / "suite"
BOOK = Codebook.default()
E, P, M, N = BOOK.stance_names
PAIRS = {
    "conditions": 35,
    "headlines": 34,
    "irony": 35,
    "lists_of_voices": 34,
    "negation": 35,
    "nested_attribution": 34,
    "quotes_over_paragraphs": 34,
    "reported_speech": 34,
    "which_country": 34,
    "who_said_it": 34,
}


# The committed suite


@pytest.fixture(scope="module")
def suite() -> list[Pair]:
    return read_suite(SUITE, BOOK)


def labels(paragraph: LabelledParagraph) -> tuple[Any, ...]:
    """What is labelled in a paragraph, without where."""
    voices = paragraph.voices or ()
    mentions = [(paragraph.text[voice.start : voice.end], voice.stance) for voice in voices]
    return sorted(mentions), paragraph.narrator


def test_the_suite_has_no_mistake() -> None:
    check = check_labelled([SUITE], BOOK)
    assert [str(problem) for problem in (*check.errors, *check.warnings)] == []
    assert {Path(file).stem for file in check.files} == set(PAIRS)


def test_the_suite_is_large_enough_and_counted(suite: list[Pair]) -> None:
    counted = Counter(pair.phenomenon for pair in suite)
    assert counted == PAIRS
    assert len(suite) == 343 >= 300
    assert min(counted.values()) >= 30


def test_its_records_are_named_after_phenomenon_number_and_side(suite: list[Pair]) -> None:
    for pair in suite:
        assert re.fullmatch(rf"{pair.phenomenon}-\d{{3}}", pair.id)
        assert [side.id for side in pair.sides] == [f"{pair.id}-a", f"{pair.id}-b"]
        for side in pair.sides:
            assert side.split == "test"
            assert side.style
            assert side.region


def test_the_sides_are_labelled_apart_unless_only_a_name_is_changed(suite: list[Pair]) -> None:
    for pair in suite:
        a, b = pair.sides
        if pair.phenomenon == "which_country":
            assert gold_mention_stances(a) == gold_mention_stances(b)
        else:
            assert labels(a) != labels(b), pair.id


def test_no_text_stands_twice_or_in_the_corpus(suite: list[Pair]) -> None:
    texts = [paragraph.text for paragraph in paragraphs_of(suite)]
    assert len(set(texts)) == len(texts) == 686
    corpus = set()
    for file in (ROOT / "training" / "corpus").rglob("*.jsonl"):
        corpus |= {json.loads(line).get("text") for line in file.read_text(encoding="utf-8").splitlines()}
    assert len(corpus) > 3000
    assert corpus.isdisjoint(texts)


def test_no_recipe_names_the_suite() -> None:
    recipes = list((ROOT / "configs").glob("*.yaml"))
    assert recipes
    assert not [path.name for path in recipes if "suite" in path.read_text(encoding="utf-8")]


def test_the_readme_counts_right_and_says_who_labelled(suite: list[Pair]) -> None:
    readme = (SUITE / "README.md").read_text(encoding="utf-8")
    for phenomenon, pairs in PAIRS.items():
        assert f"| `{phenomenon}` | {pairs} |" in readme
    assert f"{len(suite)} pairs of short English paragraphs" in readme
    flat = " ".join(readme.split())
    assert "written by a large language model" in flat
    assert "No human coder has checked any of them." in flat
    assert "Never train on it" in flat


# Reading


def records(mark: Mark, *ids: str, phenomenon: object = "negation") -> list[dict[str, Any]]:
    """Records of the documents before the last hyphen of each id."""
    return [
        mark("{{e|Varga}} said so.", name, document=name.rpartition("-")[0]).to_dict() | {"phenomenon": phenomenon}
        for name in ids
    ]


def test_reading_pairs_from_a_folder_and_from_a_table(mark: Mark, write: Write, tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", records(mark, "x-1-a", "x-2-a", "x-2-b", "x-1-b"))
    write(tmp_path / "a.jsonl", records(mark, "y-a", "y-b", phenomenon=" irony "))
    found = read_suite(tmp_path, BOOK)
    assert [(pair.id, pair.phenomenon, [side.id for side in pair.sides]) for pair in found] == [
        ("y", "irony", ["y-a", "y-b"]),
        ("x-1", "negation", ["x-1-a", "x-1-b"]),
        ("x-2", "negation", ["x-2-a", "x-2-b"]),
    ]
    assert [side.id for side in paragraphs_of(found)] == ["y-a", "y-b", "x-1-a", "x-1-b", "x-2-a", "x-2-b"]
    table = tmp_path / "pairs.csv"
    table.write_text(
        "id,document,text,narrator,voices,phenomenon\nz-a,z,Talk now.,engagement,[],irony\nz-b,z,Talk now?,,[],irony\n",
        encoding="utf-8",
    )
    (pair,) = read_suite(table, BOOK)
    assert (pair.phenomenon, [side.narrator for side in pair.sides]) == ("irony", [E, None])


def test_the_pair_in_the_docs_can_be_read(write: Write, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    shown = re.findall(r'^    (\{"id": "b-.*?\]\})$', page, flags=re.MULTILINE | re.DOTALL)
    (pair,) = read_suite(write(tmp_path / "pairs.jsonl", map(json.loads, shown)), BOOK)
    assert pair.phenomenon == "bluff"
    assert [labels(side) for side in pair.sides] == [([("Varga", N)], None), ([("Varga", P)], None)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[:1], "pairs.jsonl:1: the pair `x` must have two sides, not 1: `x-a`"),
        (
            lambda r: [*r, r[0] | {"id": "x-c"}],
            "pairs.jsonl:1: the pair `x` must have two sides, not 3: `x-a`, `x-b`, `x-c`",
        ),
        (
            lambda r: [r[0], {k: v for k, v in r[1].items() if k != "phenomenon"}],
            "pairs.jsonl:2: `x-b` names no `phenomenon`",
        ),
        (lambda r: [r[0], r[1] | {"phenomenon": "  "}], "pairs.jsonl:2: `x-b` names no `phenomenon`"),
        (lambda r: [r[0], r[1] | {"phenomenon": 3}], "pairs.jsonl:2: `x-b` names no `phenomenon`"),
        (
            lambda r: [r[0], r[1] | {"phenomenon": "irony"}],
            "pairs.jsonl:1: the pair `x` names more than one phenomenon: `negation`, `irony`",
        ),
        (
            lambda r: [r[0] | {"voices": None}, r[1]],
            "pairs.jsonl:1: `x-a` must be labelled with `voices` and `narrator`",
        ),
        (
            lambda r: [r[0], {k: v for k, v in r[1].items() if k != "narrator"}],
            "pairs.jsonl:2: `x-b` must be labelled with `voices` and `narrator`",
        ),
    ],
)
def test_what_is_wrong_with_a_pair_is_said(
    mark: Mark, write: Write, tmp_path: Path, change: Callable[[list[Any]], list[Any]], message: str
) -> None:
    path = write(tmp_path / "pairs.jsonl", [*change(records(mark, "x-a", "x-b")), *records(mark, "y-a", "y-b")])
    with pytest.raises(DataError, match=r"pairs\.jsonl is no suite of minimal pairs:\n  - ") as raised:
        read_suite(path, BOOK)
    assert [line[4:] for line in str(raised.value).splitlines()[1:-1]] == [f"{tmp_path}/{message}"]
    assert str(raised.value).endswith(
        "\nThe two sides of a pair are two labelled records with the same `document` and the same `phenomenon`; "
        "docs/evaluation.md shows one."
    )


def test_a_file_of_another_kind_does_not_flood_the_terminal(mark: Mark, write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", records(mark, *(f"d{n}-a" for n in range(40)), phenomenon=None))
    with pytest.raises(DataError, match=r"\n  - and 70 more\n") as raised:
        read_suite(path, BOOK)
    assert len(str(raised.value).splitlines()) == 13


def test_mistakes_of_the_records_come_first(mark: Mark, write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", [r | {"narrator": "angry"} for r in records(mark, "x-a", "x-b")])
    with pytest.raises(DataError, match="the labelled data has 2 mistakes") as raised:
        read_suite(path, BOOK)
    assert "unknown stance of the narrator `angry`" in str(raised.value)
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        read_suite(tmp_path / "none.jsonl", BOOK)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder holds no \*\.jsonl file"):
        read_suite(tmp_path / "empty", BOOK)


# Scoring


def voice(start: int | None, end: int | None, stance: str) -> PredictedVoice:
    return PredictedVoice(start, end, start is None, 0.9, stance, {stance: 1.0})


def predicted(on_gold: Iterable[str], found: Iterable[tuple[int | None, int | None, str]]) -> Prediction:
    """A prediction that decides on these stances on gold mentions, and finds these voices."""
    return Prediction(
        topics=(),
        topic_probabilities={},
        voices=tuple(voice(*one) for one in found),
        candidates=(),
        stance=None,
        stance_probabilities={},
        gold_stances=tuple({name: 0.7 if name == stance else 0.1 for name in BOOK.stance_names} for stance in on_gold),
    )


def right(paragraph: LabelledParagraph) -> Prediction:
    """The prediction that has everything right."""
    found: list[tuple[int | None, int | None, str]] = [(v.start, v.end, v.stance) for v in paragraph.voices or ()]
    if paragraph.narrator is not None:
        found.append((None, None, paragraph.narrator))
    return predicted(gold_mention_stances(paragraph), found)


def test_the_decision_on_a_voice_is_the_models_or_else_its_most_probable_stance(mark: Mark) -> None:
    paragraph = mark("{{n|Varga}} met {{p|Okoro}}.")
    likeliest = replace(
        predicted([], []), gold_stances=({E: 0.2, P: 0.5, M: 0.1, N: 0.2}, {N: 0.4, P: 0.4, E: 0.1, M: 0.1})
    )
    assert decided_stances(likeliest, BOOK) == [P, P]  # of equal ones, the first of the codebook
    assert not right_on_gold_mentions(paragraph, likeliest, BOOK)
    weighted = replace(likeliest, gold_decisions=(N, P))
    assert decided_stances(weighted, BOOK) == [N, P]
    assert right_on_gold_mentions(paragraph, weighted, BOOK)


TEXT = "The old {{e|envoy}} spoke, and {{p|Varga}} answered."  # the envoy at 8 to 13, Varga at 25 to 30


@pytest.mark.parametrize(
    ("narrator", "found", "expected"),
    [
        (None, [(8, 13, E), (25, 30, P)], True),
        (None, [(25, 30, P), (8, 13, E)], True),
        (None, [(0, 13, E), (21, 39, P)], True),  # each shares a word with its mention
        (None, [(8, 13, E), (25, 30, N)], False),
        (None, [(8, 13, P), (25, 30, E)], False),
        (None, [(8, 13, E)], False),
        (None, [], False),
        (None, [(0, 7, E), (25, 30, P)], False),  # beside the mention, not on it
        (None, [(8, 13, E), (14, 19, N), (25, 30, P)], False),  # one too many
        (None, [(0, 10, E), (11, 13, E), (25, 30, P)], False),  # two for one mention
        (None, [(0, 30, E)], False),  # one for two mentions
        (None, [(8, 13, E), (25, 30, P), (None, None, P)], False),
        (M, [(8, 13, E), (25, 30, P), (None, None, M)], True),
        (M, [(8, 13, E), (25, 30, P), (None, None, P)], False),
        (M, [(8, 13, E), (25, 30, P)], False),
    ],
)
def test_end_to_end_exactly_the_labelled_voices_are_found(
    mark: Mark, narrator: str | None, found: list[tuple[int | None, int | None, str]], expected: bool
) -> None:
    paragraph = mark(TEXT, narrator=narrator)
    assert right_end_to_end(paragraph, predicted([], found)) is expected


@pytest.mark.parametrize(
    ("narrator", "on_gold", "expected"),
    [
        (None, [E, P], True),
        (None, [P, E], False),
        (None, [E, N], False),
        (M, [M, E, P], True),
        (M, [N, E, P], False),
    ],
)
def test_on_gold_mentions_every_stance_is_right(
    mark: Mark, narrator: str | None, on_gold: list[str], expected: bool
) -> None:
    paragraph = mark(TEXT, narrator=narrator)
    assert right_on_gold_mentions(paragraph, predicted(on_gold, []), BOOK) is expected


def test_a_side_without_a_voice_is_right_where_nothing_is_found(mark: Mark) -> None:
    paragraph = mark("The fleet sailed on Monday.")
    assert right_on_gold_mentions(paragraph, predicted([], []), BOOK)
    assert right_end_to_end(paragraph, predicted([], []))
    assert not right_end_to_end(paragraph, predicted([], [(4, 9, N)]))
    assert not right_end_to_end(paragraph, predicted([], [(None, None, N)]))


def test_stances_that_were_not_predicted_are_an_error(mark: Mark) -> None:
    paragraph = mark(TEXT, "x-a", narrator=N)
    message = r"paragraph x-a: 3 gold mentions \(narrator included\), but stances predicted for 2; predict one for each"
    with pytest.raises(DataError, match=message):
        right_on_gold_mentions(paragraph, predicted([E, P], []), BOOK)


@pytest.fixture
def pairs(mark: Mark) -> list[Pair]:
    """Three pairs of negation and one of irony."""

    def pair(name: str, phenomenon: str, a: str, b: str) -> Pair:
        return Pair(name, phenomenon, (mark(a, f"{name}-a", document=name), mark(b, f"{name}-b", document=name)))

    a, b = "{{e|Varga}} would talk.", "{{p|Varga}} would not talk."
    return [
        pair("n1", "negation", a, b),
        pair("n2", "negation", a, b),
        pair("i1", "irony", a, b),
        pair("n3", "negation", a, b),
    ]


def test_a_pair_counts_if_both_sides_are_right(pairs: list[Pair]) -> None:
    predictions = [right(side) for side in paragraphs_of(pairs)]
    predictions[1] = predicted([P], [(0, 5, P), (None, None, N)])  # n1-b: a narrator too many
    predictions[2] = predicted([N], [(0, 5, N)])  # n2-a: wrong in both ways
    predictions[4] = predicted([P], [(0, 5, E)])  # i1-a: wrong on the gold mention alone
    report = evaluate_suite(pairs, predictions, BOOK)
    assert {name: scores.pairs for name, scores in report.phenomena.items()} == {"negation": 3, "irony": 1}
    assert list(report.phenomena) == ["negation", "irony"]
    assert report.phenomena["negation"].on_gold_mentions.value == pytest.approx(2 / 3)
    assert report.phenomena["negation"].end_to_end.value == pytest.approx(1 / 3)
    assert report.phenomena["irony"].on_gold_mentions.value == 0
    assert report.phenomena["irony"].end_to_end.value == 1
    assert (report.all.pairs, report.all.on_gold_mentions.value, report.all.end_to_end.value) == (4, 0.5, 0.5)
    assert report.all.on_gold_mentions == share(2, 4)


def test_the_voices_in_question_are_those_that_the_other_side_lacks(mark: Mark) -> None:
    first = mark("{{e|Ada}} and {{p|Ben}} met, I note.", "q-a", document="q", narrator=N)
    other = mark("{{e|Ada}} and {{n|Ben}} wept, I note.", "q-b", document="q", narrator=N)
    assert in_question(Pair("q", "negation", (first, other))) == ([False, False, True], [False, False, True])
    assert in_question(Pair("q", "negation", (first, first))) == ([True, True, True], [True, True, True])
    wrong_elsewhere = predicted([P, E, P], [])  # the narrator, whom the pair is not about
    report = evaluate_suite([Pair("q", "negation", (first, other))], [wrong_elsewhere, predicted([P, E, N], [])], BOOK)
    assert (report.all.in_question.value, report.all.on_gold_mentions.value) == (1, 0)


def test_everything_right_and_everything_wrong(pairs: list[Pair]) -> None:
    whole = evaluate_suite(pairs, [right(side) for side in paragraphs_of(pairs)], BOOK)
    none = evaluate_suite(pairs, [predicted([M], []) for _ in paragraphs_of(pairs)], BOOK)
    for report, value in ((whole, 1.0), (none, 0.0)):
        for scores in (*report.phenomena.values(), report.all):
            assert (scores.on_gold_mentions.value, scores.end_to_end.value) == (value, value)


def test_wilson_intervals() -> None:
    """Against scipy.stats.binomtest(right, number).proportion_ci(method="wilson")."""
    for made, expected in (
        (share(7, 35), (0.2, 0.10042446473798625, 0.3589161306566562)),
        (share(5, 10), (0.5, 0.236593090512564, 0.7634069094874361)),
        (share(0, 34), (0.0, 0.0, 0.10151455415332376)),
        (share(10, 10), (1.0, 0.7224672001371109, 1.0)),
    ):
        assert (made.value, made.low, made.high) == pytest.approx(expected, abs=1e-12)
        assert made.low is not None
        assert made.high is not None
        assert 0 <= made.low <= made.high <= 1
    assert share(7, 35).support == 35


def test_predictions_must_fit_the_pairs(pairs: list[Pair]) -> None:
    with pytest.raises(DataError, match="4 pairs but 1 predictions; give one for each side"):
        evaluate_suite(pairs, [predicted([], [])], BOOK)
    with pytest.raises(DataError, match="no pair was given"):
        evaluate_suite([], [], BOOK)


# The report


def test_a_report_survives_json(pairs: list[Pair]) -> None:
    report = evaluate_suite(pairs, [right(side) for side in paragraphs_of(pairs)], BOOK)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["all"]["on_gold_mentions"] == {
        "value": 1.0,
        "low": pytest.approx(0.5101, abs=1e-4),
        "high": 1.0,
        "support": 4,
    }
    assert list(data["phenomena"]) == ["negation", "irony"]
    assert SuiteReport.from_dict(data | {"data": "suite"}) == report


@pytest.mark.parametrize(
    "data", [{}, {"phenomena": {}}, {"phenomena": [], "all": {}}, {"phenomena": {"x": {}}, "all": 1}, 3]
)
def test_what_is_no_report_is_refused(data: Any) -> None:
    with pytest.raises(DataError, match=r"this is no report of a suite\. Give what `detente evaluate --suite SUITE"):
        SuiteReport.from_dict(data)


def test_the_table(pairs: list[Pair]) -> None:
    predictions = [right(side) for side in paragraphs_of(pairs)]
    predictions[2] = predicted([N], [(0, 5, E)])
    page = Console(file=StringIO(), width=100)
    page.print(render_suite(evaluate_suite(pairs, predictions, BOOK), "tiny on [suite]"))
    assert isinstance(page.file, StringIO)
    lines = [" ".join(line.split()) for line in page.file.getvalue().splitlines()]
    assert lines[0] == "tiny on [suite]"
    assert lines[1] == "both sides right in question [95%] all voices [95%] end to end [95%] pairs"
    assert lines[3:] == [
        "negation .667 [.208 .939] .667 [.208 .939] 1.00 [.439 1.00] 3",
        "irony 1.00 [.207 1.00] 1.00 [.207 1.00] 1.00 [.207 1.00] 1",
        "",
        "all .750 [.301 .954] .750 [.301 .954] 1.00 [.510 1.00] 4",
        "",
    ]
