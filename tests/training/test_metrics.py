import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.codebook import Codebook
from detente.errors import DataError
from detente.tags import ParagraphTags, Voice
from detente_training.labelled import LabelledParagraph, LabelledVoice
from detente_training.metrics import PredictedVoice, Prediction, evaluate, headline, prediction_from_tags
from detente_training.predictions import gold_mention_stances, paragraph_stance
from detente_training.report import Confusion, Report, Scores

CODEBOOK = Codebook.default()
STANCES = CODEBOOK.stance_names  # engagement, pressure, mixed, neutral
TOPICS = CODEBOOK.topic_names  # human_rights, military_tension, diplomacy


def gold(id, document, text, topics, narrator, *voices):
    marked = tuple(LabelledVoice(text.index(mention), text.index(mention) + len(mention), s) for mention, s in voices)
    return LabelledParagraph(id, document, text, topics, marked, narrator, narrator_labelled=True)


def stances(best, probability):
    """Gives `probability` to one stance and the rest to the others."""
    return {name: probability if name == best else (1 - probability) / 3 for name in STANCES}


def voice(text, mention, presence, stance):
    start = None if mention == "narrator" else text.index(mention)
    end = None if start is None else start + len(mention)
    return PredictedVoice(start, end, start is None, presence, stance, stances(stance, 0.7))


def topics(*probabilities):
    return dict(zip(TOPICS, probabilities, strict=True))


A1 = gold(
    "A1",
    "A",
    "Kim said talks must resume. Washington said no.",
    ("diplomacy",),
    None,
    ("Kim", "engagement"),
    ("Washington", "pressure"),
)
A2 = gold(
    "A2",
    "A",
    "The foreign ministry warned of war.",
    ("military_tension",),
    None,
    ("The foreign ministry", "pressure"),
)
B1 = gold("B1", "B", "We must not trade with them.", (), "pressure")
B2 = gold("B2", "B", "He denied it.", ("human_rights",), None, ("He", "neutral"))
GOLD = [A1, A2, B1, B2]

A1_VOICES = (
    voice(A1.text, "Kim", 0.9, "engagement"),
    voice(A1.text, "Washington said", 0.8, "neutral"),
)
A2_VOICES = (voice(A2.text, "ministry", 0.7, "pressure"),)
B1_VOICES = (voice(B1.text, "narrator", 0.6, "pressure"), voice(B1.text, "them", 0.55, "neutral"))
PREDICTIONS = [
    Prediction(
        ("diplomacy",),
        topics(0.1, 0.4, 0.9),
        A1_VOICES,
        (voice(A1.text, "narrator", 0.1, "neutral"), *A1_VOICES),
        "engagement",
        stances("engagement", 0.6),
        (stances("engagement", 0.7), stances("neutral", 0.8)),
    ),
    Prediction(
        ("military_tension", "diplomacy"),
        topics(0.2, 0.7, 0.6),
        A2_VOICES,
        (*A2_VOICES, voice(A2.text, "war", 0.15, "neutral")),
        "pressure",
        stances("pressure", 0.9),
        (stances("pressure", 0.6),),
    ),
    Prediction(
        ("human_rights",),
        topics(0.8, 0.15, 0.05),
        B1_VOICES,
        B1_VOICES,
        "pressure",
        stances("pressure", 0.7),
        (stances("pressure", 0.5),),
    ),
    Prediction(
        (),
        topics(0.3, 0.25, 0.35),
        (),
        (
            voice(B2.text, "narrator", 0.2, "neutral"),
            voice(B2.text, "He", 0.3, "neutral"),
            voice(B2.text, "it", 0.05, "neutral"),
        ),
        "neutral",
        stances("neutral", 0.8),
        (stances("neutral", 0.4),),
    ),
]


@pytest.fixture(scope="module")
def report():
    return evaluate(GOLD, PREDICTIONS, CODEBOOK, bootstrap=400)


def triple(scores: Scores):
    assert scores.precision.support == scores.recall.support == scores.f1.support
    values = (scores.precision.value, scores.recall.value, scores.f1.value)
    return (*(None if value is None else round(value, 4) for value in values), scores.f1.support)


def test_topics(report):
    labels = report.topics.labels
    assert triple(labels["human_rights"]) == (0.0, 0.0, 0.0, 1)  # gold B2, found B1
    assert triple(labels["military_tension"]) == (1.0, 1.0, 1.0, 1)  # A2
    assert triple(labels["diplomacy"]) == (0.5, 1.0, 0.6667, 1)  # gold A1, found A1 and A2
    assert triple(report.topics.macro) == (0.5, 0.6667, 0.5556, 4)


def test_voices(report):
    # gold: Kim, Washington, ministry, narrator of B1, He; found: Kim, Washington, ministry, narrator, them
    assert triple(report.voices.overlap) == (0.8, 0.8, 0.8, 5)
    assert triple(report.voices.exact) == (0.4, 0.4, 0.4, 5)  # Kim, narrator
    assert triple(report.voices.with_stance) == (0.6, 0.6, 0.6, 5)  # not Washington
    assert triple(report.voices.mentions) == (0.75, 0.75, 0.75, 4)
    assert triple(report.voices.narrator) == (1.0, 1.0, 1.0, 1)
    assert report.voices.found == 5


def test_stance_on_gold_mentions(report):
    # gold e p p p n, predicted e n p p n; nothing is mixed, so the mean is over three
    assert triple(report.stance.labels["engagement"]) == (1.0, 1.0, 1.0, 1)
    assert triple(report.stance.labels["pressure"]) == (1.0, 0.6667, 0.8, 3)
    assert triple(report.stance.labels["neutral"]) == (0.5, 1.0, 0.6667, 1)
    assert triple(report.stance.labels["mixed"]) == (None, None, None, 0)
    assert report.stance.macro_f1.value == pytest.approx((1 + 0.8 + 2 / 3) / 3)
    assert (report.stance.accuracy.value, report.stance.accuracy.support) == (0.8, 5)
    assert report.stance.confusion == Confusion(
        STANCES, STANCES, ((1, 0, 0, 0), (0, 2, 0, 1), (0, 0, 0, 0), (0, 0, 0, 1))
    )


def test_paragraph_stance(report):
    # gold m p p n, predicted e p p n: F1 of e, p, m, n is 0, 1, 0, 1
    assert triple(report.paragraph_stance.labels["engagement"]) == (0.0, 0.0, 0.0, 0)
    assert triple(report.paragraph_stance.labels["mixed"]) == (0.0, 0.0, 0.0, 1)
    assert report.paragraph_stance.macro_f1.value == 0.5
    assert (report.paragraph_stance.accuracy.value, report.paragraph_stance.accuracy.support) == (0.75, 4)
    assert report.paragraph_stance.confusion.counts[2] == (1, 0, 0, 0)


def test_calibration(report):
    # topics: 12 probabilities, 1.2 to a bin; the sums of |gap| by hand in test_estimates.py
    assert report.topics.ece.value == pytest.approx(3.10 / 12)
    assert report.topics.ece.support == 12
    # presence: 10 candidates, one to a bin: .9 .8 .7 .6 .3 hold, .55 .2 .15 .1 .05 do not
    assert report.voices.ece.value == pytest.approx((0.1 + 0.2 + 0.3 + 0.4 + 0.7 + 1.05) / 10)
    assert report.voices.ece.support == 10
    # stance: .7 right, .8 wrong, .6 .5 .4 right, each over two bins
    assert report.stance.ece.value == pytest.approx((0.3 + 0.8 + 0.4 + 0.5 + 0.6) / 5)
    # paragraph: .6 wrong, .7 .8 .9 right, 0.4 of an item to a bin; the third and eighth bins hold two halves
    expected = 0.2 * 0.6 + 0.05 * (0.6 - 0.3) + 0.2 * 0.3 + 0.2 * 0.2 + 0.05 * (0.2 + 0.1) + 0.2 * 0.1
    assert report.paragraph_stance.ece.value == pytest.approx(expected)


def test_intervals_are_over_documents(report):
    # two documents: the extremes are document A twice and document B twice
    assert (report.documents, report.resamples) == (2, 400)
    accuracy = report.paragraph_stance.accuracy
    assert (accuracy.low, accuracy.high) == (0.5, 1.0)
    overlap = report.voices.overlap.f1
    assert (overlap.low, overlap.high) == (0.5, 1.0)  # B: one of two found, one of two gold
    assert (report.voices.narrator.f1.low, report.voices.narrator.f1.high) == (1.0, 1.0)  # A alone has none


def test_headline(report):
    assert headline(report) == {
        "topics_f1": pytest.approx(5 / 9),
        "voices_f1": pytest.approx(0.8),
        "voice_stance_f1": pytest.approx(0.6),
        "stance_f1": pytest.approx((1 + 0.8 + 2 / 3) / 3),
        "paragraph_stance_f1": pytest.approx(0.5),
    }


def test_report_is_plain_json(report):
    data = report.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["voices"]["overlap"]["f1"] == {"value": 0.8, "low": 0.5, "high": 1.0, "support": 5}
    assert data["stance"]["labels"]["mixed"]["f1"]["value"] is None
    assert data["stance"]["confusion"]["columns"] == list(STANCES)


def test_report_is_read_back(report):
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    bare = replace(report, voices=None)
    assert Report.from_dict({**bare.to_dict(), "model": "small"}) == bare
    with pytest.raises(DataError, match=r"no report .*: resamples, seed missing.*detente evaluate --json"):
        Report.from_dict({k: v for k, v in report.to_dict().items() if k not in ("resamples", "seed")})
    with pytest.raises(DataError, match="no report of an evaluation: paragraphs, documents"):
        Report.from_dict([])  # type: ignore[arg-type]


def perfect(paragraph: LabelledParagraph) -> Prediction:
    voices = tuple(
        PredictedVoice(v.start, v.end, False, 1.0, v.stance, stances(v.stance, 1.0)) for v in paragraph.voices or ()
    )
    if paragraph.narrator:
        narrator = PredictedVoice(None, None, True, 1.0, paragraph.narrator, stances(paragraph.narrator, 1.0))
        voices = (narrator, *voices)
    stance = paragraph_stance(paragraph, CODEBOOK)
    return Prediction(
        paragraph.topics or (),
        {name: float(name in (paragraph.topics or ())) for name in TOPICS},
        voices,
        voices,
        stance,
        stances(stance, 1.0),
        tuple(stances(name, 1.0) for name in gold_mention_stances(paragraph)),
    )


def test_a_perfect_prediction_scores_one_everywhere():
    report = evaluate(GOLD, [perfect(p) for p in GOLD], CODEBOOK, bootstrap=50)
    assert set(headline(report).values()) == {1.0}
    for scores in (
        report.topics.macro,
        report.voices.overlap,
        report.voices.exact,
        report.voices.with_stance,
    ):
        assert triple(scores)[:3] == (1.0, 1.0, 1.0)
        assert (scores.f1.low, scores.f1.high) == (1.0, 1.0)
    assert report.stance.accuracy.value == report.paragraph_stance.accuracy.value == 1.0
    for task in (report.topics, report.voices, report.stance, report.paragraph_stance):
        assert task.ece.value == 0.0


def test_what_is_not_labelled_is_left_out():
    unlabelled = [
        replace(A1, topics=None),  # no topics
        replace(A2, voices=None),  # no voices, no paragraph stance
        replace(B1, narrator=None, narrator_labelled=False),  # no narrator, no paragraph stance
        B2,
    ]
    predictions = [
        PREDICTIONS[0],
        replace(PREDICTIONS[1], gold_stances=()),
        replace(PREDICTIONS[2], gold_stances=()),
        PREDICTIONS[3],
    ]
    report = evaluate(unlabelled, predictions, CODEBOOK, bootstrap=0)
    assert report.topics.macro.f1.support == 3
    assert report.topics.ece.support == 9
    # gold: Kim, Washington, He; found: both in A1, "them" in B1; B1's narrator is neither right nor wrong
    assert triple(report.voices.overlap) == (0.6667, 0.6667, 0.6667, 3)
    assert report.voices.found == 3
    assert report.voices.ece.support == 7  # A1 three, B1 one, B2 three
    assert report.stance.accuracy.support == 3
    assert report.paragraph_stance.accuracy.support == 2


def test_tasks_without_any_label_are_none():
    bare = [replace(p, topics=None, voices=None, narrator=None, narrator_labelled=False) for p in GOLD]
    report = evaluate(bare, [replace(p, gold_stances=()) for p in PREDICTIONS], CODEBOOK, bootstrap=10)
    assert (report.topics, report.voices, report.stance, report.paragraph_stance) == (None, None, None, None)
    assert headline(report) == {}
    topics_alone = evaluate(
        [replace(B1, voices=None, narrator=None, narrator_labelled=False)],
        [replace(PREDICTIONS[2], gold_stances=())],
        CODEBOOK,
    )
    assert headline(topics_alone) == {"topics_f1": 0.0}


def test_without_gold_stances_that_task_is_left_out():
    report = evaluate(GOLD, [replace(p, gold_stances=()) for p in PREDICTIONS], CODEBOOK, bootstrap=0)
    assert report.stance is None
    assert report.paragraph_stance is not None


def test_the_narrator_matches_only_the_narrator():
    text = "We must not trade with them."
    marked = gold("x", "x", text, (), None, ("We", "pressure"))
    found = voice(text, "narrator", 0.9, "pressure")
    prediction = Prediction((), {}, (found,), (found,), "pressure", {}, ())
    report = evaluate([marked], [prediction], CODEBOOK, bootstrap=0)
    assert triple(report.voices.overlap) == (0.0, 0.0, 0.0, 1)
    assert triple(report.voices.narrator) == (0.0, 0.0, 0.0, 0)


def test_the_most_probable_of_two_candidates_is_the_one_that_holds():
    candidates = (voice(A2.text, "The", 0.2, "neutral"), voice(A2.text, "ministry", 0.9, "neutral"))
    prediction = Prediction((), {}, (), candidates, "neutral", {}, ())
    report = evaluate([A2], [prediction], CODEBOOK, bootstrap=0)
    assert report.voices.ece.value == pytest.approx((0.2 + 0.1) / 2)


def test_methods_without_probabilities_have_no_calibration():
    plain = [Prediction(p.topics, {}, p.voices, (), p.stance, {}, ()) for p in PREDICTIONS]
    report = evaluate(GOLD, plain, CODEBOOK, bootstrap=10)
    for ece in (report.topics.ece, report.voices.ece, report.paragraph_stance.ece):
        assert (ece.value, ece.low, ece.high, ece.support) == (None, None, None, 0)
    assert report.topics.macro.f1.value == pytest.approx(5 / 9)


def test_a_paragraph_given_no_stance_has_its_own_column():
    report = evaluate([B2], [replace(PREDICTIONS[3], stance=None)], CODEBOOK)
    assert report.paragraph_stance.confusion.columns == (*STANCES, "(none)")
    assert report.paragraph_stance.confusion.counts[3] == (0, 0, 0, 0, 1)
    assert report.paragraph_stance.accuracy.value == 0.0
    assert triple(report.paragraph_stance.labels["neutral"]) == (0.0, 0.0, 0.0, 1)


def test_one_document_has_no_interval():
    report = evaluate([A1, A2], PREDICTIONS[:2], CODEBOOK, bootstrap=100)
    assert (report.documents, report.resamples) == (1, 0)
    assert report.voices.overlap.f1.low is None


def test_of_equal_probabilities_the_first_in_the_codebook_counts():
    level = dict.fromkeys(reversed(STANCES), 0.25)
    report = evaluate([B2], [replace(PREDICTIONS[3], gold_stances=(level,))], CODEBOOK)
    assert report.stance.confusion.counts[3] == (1, 0, 0, 0)


def test_another_codebook_has_other_labels():
    other = Codebook.from_dict(
        {
            "version": "1",
            "stances": [{"name": "for", "poles": ["up"]}, {"name": "none"}],
            "poles": [{"name": "up"}],
        }
    )
    paragraph = gold("x", "x", "She agreed.", (), None, ("She", "for"))
    found = PredictedVoice(0, 3, False, 0.9, "for", {"for": 0.9, "none": 0.1})
    prediction = Prediction((), {}, (found,), (found,), "for", {"for": 0.9, "none": 0.1}, (found.stances,))
    report = evaluate([paragraph], [prediction], other)
    assert report.topics is None
    assert headline(report) == {
        "voices_f1": 1.0,
        "voice_stance_f1": 1.0,
        "stance_f1": 1.0,
        "paragraph_stance_f1": 1.0,
    }


def test_prediction_from_tags():
    found = Voice("He", 0, 2, False, None, 0.9, "neutral", stances("neutral", 0.7), 0.0)
    tags = ParagraphTags(
        "B2",
        "B",
        0,
        "paragraph",
        B2.text,
        True,
        ("human_rights",),
        topics(0.9, 0.1, 0.1),
        (found,),
        "neutral",
    )
    prediction = prediction_from_tags(tags)
    assert prediction.voices == (PredictedVoice(0, 2, False, 0.9, "neutral", stances("neutral", 0.7)),)
    assert headline(evaluate([B2], [prediction], CODEBOOK)) == {
        "topics_f1": 1.0,
        "voices_f1": 1.0,
        "voice_stance_f1": 1.0,
        "paragraph_stance_f1": 1.0,
    }


def test_errors_say_what_is_wrong():
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate([], [], CODEBOOK)
    with pytest.raises(DataError, match="4 labelled paragraphs but 1 predictions"):
        evaluate(GOLD, PREDICTIONS[:1], CODEBOOK)
    with pytest.raises(DataError, match=r"paragraph A1: 2 gold mentions .* predicted for 1"):
        evaluate([A1], [replace(PREDICTIONS[0], gold_stances=(stances("mixed", 0.7),))], CODEBOOK)
    with pytest.raises(DataError, match="paragraph B1: unknown topic 'sport'; the codebook has: human_rights"):
        evaluate([B1], [replace(PREDICTIONS[2], topics=("sport",))], CODEBOOK)
    angry = replace(B1, narrator="angry")
    with pytest.raises(DataError, match="paragraph B1: unknown stance 'angry'"):
        evaluate([angry], [replace(PREDICTIONS[2], gold_stances=())], CODEBOOK)
    with pytest.raises(DataError, match="paragraph B2: unknown stance 'angry'"):
        evaluate([B2], [replace(PREDICTIONS[3], stance="angry")], CODEBOOK)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.permutations(range(4)))
def test_the_order_of_the_paragraphs_does_not_matter(order):
    shuffled = evaluate([GOLD[i] for i in order], [PREDICTIONS[i] for i in order], CODEBOOK, bootstrap=20)
    flat = flatten(evaluate(GOLD, PREDICTIONS, CODEBOOK, bootstrap=20).to_dict())
    assert flatten(shuffled.to_dict()) == pytest.approx(flat, abs=1e-9)


mentions = st.lists(
    st.tuples(st.integers(0, 45), st.integers(1, 9), st.floats(0, 1), st.sampled_from(STANCES)), max_size=5
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(mentions, st.booleans(), st.sets(st.sampled_from(TOPICS)), st.sampled_from([*STANCES, None]))
def test_every_figure_is_in_bounds(spans, narrator, chosen, stance):
    candidates = tuple(PredictedVoice(s, s + n, False, p, label, {}) for s, n, p, label in spans)
    if narrator:
        candidates = (PredictedVoice(None, None, True, 0.5, "mixed", {}), *candidates)
    found = tuple(v for v in candidates if v.presence >= 0.5)
    prediction = Prediction(tuple(chosen), {}, found, candidates, stance, {}, ())
    report = evaluate([A1, B2], [prediction, prediction], CODEBOOK, bootstrap=20).to_dict()
    for key, value in flatten(report).items():
        if key.endswith((".value", ".low", ".high")) and value is not None:
            assert 0 <= value <= 1, key
    voices = report["voices"]
    for part in ("precision", "recall", "f1"):
        assert (voices["exact"][part]["value"] or 0) <= (voices["overlap"][part]["value"] or 0)
        assert (voices["with_stance"][part]["value"] or 0) <= (voices["overlap"][part]["value"] or 0)


def flatten(data, path=""):
    if isinstance(data, dict):
        return {k: v for key, item in data.items() for k, v in flatten(item, f"{path}.{key}").items()}
    if isinstance(data, list):
        return {k: v for i, item in enumerate(data) for k, v in flatten(item, f"{path}.{i}").items()}
    return {path: data}
