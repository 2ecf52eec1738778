import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from detente.codebook import Codebook
from detente.errors import DataError
from detente_training.evaluation import by_group, group_fields, mistakes, render_groups, render_report
from detente_training.labelled import LabelledParagraph, LabelledVoice
from detente_training.metrics import PredictedVoice, Prediction, evaluate

CODEBOOK = Codebook.default()
E, P, M, N = CODEBOOK.stance_names

WIRE = LabelledParagraph(
    id="w-1",
    document="w",
    text="The envoy urged talks. The general refused.",
    topics=("diplomacy",),
    voices=(LabelledVoice(0, 9, E), LabelledVoice(23, 34, P)),
    narrator=None,
    narrator_labelled=True,
    style="wire",
    region="dprk",
)
OPED = LabelledParagraph(
    id="o-1",
    document="o",
    text="Enough envoys. She agreed.",
    topics=(),
    voices=(LabelledVoice(15, 18, N),),
    narrator=P,
    narrator_labelled=True,
    style="op-ed",
)
GOLD = [WIRE, OPED]


def found(start, end, presence, stance, probability):
    return PredictedVoice(start, end, start is None, presence, stance, {stance: probability})


ENVOY = found(0, 9, 0.9, P, 0.65)  # wrong stance
GENERAL = found(27, 34, 0.3, P, 0.9)  # under the threshold
SHE = found(15, 18, 0.95, N, 0.9)
ENOUGH = found(0, 6, 0.55, N, 0.6)  # spurious
NARRATOR = found(None, None, 0.2, P, 0.9)  # under the threshold

PREDICTIONS = [
    Prediction(
        topics=("diplomacy", "military_tension"),
        topic_probabilities={"human_rights": 0.1, "military_tension": 0.7, "diplomacy": 0.8},
        voices=(ENVOY,),
        candidates=(ENVOY, GENERAL),
        stance=P,
        stance_probabilities={P: 0.5, M: 0.3, E: 0.1, N: 0.1},
        gold_stances=({P: 0.65, E: 0.35}, {P: 0.9, E: 0.1}),
    ),
    Prediction(
        topics=(),
        topic_probabilities={"human_rights": 0.1, "military_tension": 0.1, "diplomacy": 0.2},
        voices=(ENOUGH, SHE),
        candidates=(NARRATOR, ENOUGH, SHE),
        stance=N,
        stance_probabilities={N: 0.75, P: 0.25},
        gold_stances=({P: 0.8, N: 0.2}, {N: 0.9, P: 0.1}),
    ),
]


def test_mistakes_stand_worst_first():
    found = mistakes(GOLD, PREDICTIONS, CODEBOOK)
    assert [(m.id, m.task, m.mention, m.gold, m.found, round(m.confidence, 6)) for m in found] == [
        ("o-1", "voice", "narrator", P, None, 0.8),
        ("o-1", "paragraph_stance", None, P, N, 0.75),
        ("w-1", "topic", None, None, "military_tension", 0.7),
        ("w-1", "voice", "The general", P, None, 0.7),
        ("w-1", "stance", "The envoy", E, P, 0.65),
        ("o-1", "voice", "Enough", None, N, 0.55),
        ("w-1", "paragraph_stance", None, M, P, 0.5),
    ]


def test_a_mistake_is_one_json_row():
    row = mistakes(GOLD, PREDICTIONS, CODEBOOK)[3].to_dict()
    assert json.loads(json.dumps(row)) == {
        "confidence": 0.7,
        "task": "voice",
        "gold": P,
        "found": None,
        "mention": "The general",
        "start": 23,
        "end": 34,
        "id": "w-1",
        "document": "w",
        "text": WIRE.text,
    }


def test_a_narrator_may_be_spurious_or_have_the_wrong_stance():
    narrator = found(None, None, 0.85, E, 0.6)
    prediction = replace(PREDICTIONS[1], voices=(narrator, SHE), candidates=(narrator, SHE), stance=P)
    wrong = mistakes([OPED], [prediction], CODEBOOK)
    assert [(m.task, m.mention, m.gold, m.found, m.confidence) for m in wrong] == [("stance", "narrator", P, E, 0.6)]
    none = mistakes([replace(OPED, narrator=None)], [replace(prediction, stance=N)], CODEBOOK)
    assert [(m.task, m.mention, m.gold, m.found, m.confidence) for m in none] == [("voice", "narrator", None, E, 0.85)]


def test_without_probabilities_a_mistake_has_confidence_one():
    plain = PredictedVoice(0, 9, False, 1.0, P, {})
    prediction = Prediction((), {}, (plain,), (), None, {}, ())
    found = mistakes([WIRE], [prediction], CODEBOOK)
    assert {m.confidence for m in found} == {1.0}
    assert [m.task for m in found] == ["topic", "stance", "voice", "paragraph_stance"]


def test_what_is_not_labelled_is_no_mistake():
    bare = replace(WIRE, topics=None, voices=None, narrator_labelled=False)
    assert mistakes([bare], PREDICTIONS[:1], CODEBOOK) == []


def test_by_group_reports_each_value():
    third = replace(WIRE, id="w-2", document="w2")
    reports = by_group([*GOLD, third], [*PREDICTIONS, PREDICTIONS[0]], CODEBOOK, ["style", "region"], bootstrap=10)
    assert {field: list(values) for field, values in reports.items()} == {
        "style": ["wire", "op-ed"],
        "region": ["dprk", "(none)"],
    }
    assert [r.paragraphs for r in reports["style"].values()] == [2, 1]
    assert reports["style"]["op-ed"].topics.macro.f1.value is None  # no topic in gold or predictions
    assert reports["style"]["wire"].voices.overlap.recall.value == 0.5


def test_group_fields_are_names_joined_by_commas():
    assert group_fields(" style, region,style") == ("style", "region")
    with pytest.raises(DataError, match=r"cannot group by `stlye`, did you mean `style`\?; .* by `author`"):
        group_fields("stlye,author")
    with pytest.raises(DataError, match=r"no field to group by was named.*style, region, source, year, split"):
        group_fields(" , ")


def rendered(renderable, width=80):
    screen = StringIO()
    Console(file=screen, width=width).print(renderable)
    return screen.getvalue()


def test_the_report_shows_figures_with_interval_and_support():
    text = rendered(render_report(evaluate(GOLD, PREDICTIONS, CODEBOOK, bootstrap=200), "small [on two]"))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "small [on two]: 2 paragraphs, 2 documents, 200 resamples by document"
    assert "figure value [95%] support" in lines
    assert "voices F1 .571 [.500 .667] 4" in lines  # 2 of 3 found, 2 of 4 gold: 2 * 2 / 7
    assert "diplomacy 1.00 [1.00 1.00] 1.00 [1.00 1.00] 1.00 [1.00 1.00] 1" in lines
    assert "Voices (3 found)" in lines
    assert "gold \\ predicted engagement pressure mixed neutral" in lines
    assert "mixed 0 1 0 0" in lines  # the paragraph stance of the wire story


def test_without_resamples_no_interval_is_shown():
    text = rendered(render_report(evaluate(GOLD, PREDICTIONS, CODEBOOK, bootstrap=0)))
    assert "2 paragraphs, 2 documents\n" in text
    assert "[" not in text


def test_a_task_without_labels_shows_a_dash():
    bare = replace(OPED, voices=None, narrator=None, narrator_labelled=False)
    prediction = replace(PREDICTIONS[1], gold_stances=())
    text = rendered(render_report(evaluate([bare], [prediction], CODEBOOK)))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "voices F1 - -" in lines
    assert "Paragraph stance" not in lines


def test_groups_are_one_table_for_each_field():
    reports = by_group(GOLD, PREDICTIONS, CODEBOOK, ("style", "region"), bootstrap=10)
    text = rendered(render_groups(reports))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "By style (n: support)" in lines
    assert "By region (n: support)" in lines
    # topics: diplomacy 1, military tension 0; voices: one of two; stance: one of two engagement, one pressure
    assert "wire .500 n=1 .667 n=2 .000 n=2 .333 n=2 .000 n=1" in lines
    assert max(map(len, text.splitlines())) <= 80
