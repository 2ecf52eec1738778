"""Simple methods whose predictions are measured like a model's: majority, TF-IDF, a verb of saying."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detente.codebook import Codebook
from detente.errors import DataError
from detente_training.labelled import LabelledParagraph
from detente_training.predictions import PredictedVoice, Prediction, gold_mention_stances, paragraph_stance
from detente_training.sayings import speakers

Paragraphs = Sequence[LabelledParagraph]
Floats = npt.NDArray[np.float64]

# names in `tables.FIGURES` that a method may say something of
TOPICS, VOICES, VOICE_STANCE = "topics macro-F1", "voices F1", "voice+stance F1"
STANCE, PARAGRAPH = "stance macro-F1", "paragraph stance macro-F1"

REGULARISATION = (0.3, 1.0, 3.0, 10.0, 30.0)  # C of the logistic regression
THRESHOLDS = np.linspace(0.05, 0.95, 19)
PRIOR_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of each class's log prior that is taken off its score


@dataclass(frozen=True, slots=True)
class Method:
    """A way to predict, and the figures that it says something of."""

    name: str
    figures: tuple[str, ...]
    predict: Callable[[Paragraphs], list[Prediction]]


def prediction(
    topics: tuple[str, ...] = (),
    voices: tuple[PredictedVoice, ...] = (),
    stance: str | None = None,
    gold_stances: Sequence[str] = (),
) -> Prediction:
    """A prediction without probabilities."""
    return Prediction(topics, {}, voices, (), stance, {}, tuple({name: 1.0} for name in gold_stances))


def majority(train: Paragraphs, codebook: Codebook) -> Method:
    labelled = [p.topics for p in train if p.topics is not None]
    topics = tuple(t for t in codebook.topic_names if 2 * sum(t in found for found in labelled) > len(labelled))
    mentions = Counter(stance for p in train for stance in gold_mention_stances(p))
    paragraphs = Counter(stance for p in train if (stance := paragraph_stance(p, codebook)))

    def most(counts: Counter[str]) -> str | None:
        return max(codebook.stance_names, key=lambda name: counts[name]) if codebook.stances else None

    of_mention, of_paragraph = most(mentions), most(paragraphs)

    def predict(paragraphs: Paragraphs) -> list[Prediction]:
        return [
            prediction(topics, (), of_paragraph, [of_mention] * len(gold_mention_stances(p)) if of_mention else ())
            for p in paragraphs
        ]

    return Method("majority", (TOPICS, STANCE, PARAGRAPH), predict)


def verb_of_saying(codebook: Codebook) -> Method:
    neutral = next((s.name for s in codebook.stances if not s.poles), next(iter(codebook.stance_names), ""))

    def predict(paragraphs: Paragraphs) -> list[Prediction]:
        return [
            prediction(
                voices=tuple(PredictedVoice(s, e, False, 1.0, neutral, {}) for s, e in speakers(p.text)),
            )
            for p in paragraphs
        ]

    return Method("verb of saying", (VOICES, VOICE_STANCE), predict)


def f1_score(gold: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_]) -> float:
    return float(2 * (gold & found).sum() / max(1, gold.sum() + found.sum()))


def tfidf(train: Paragraphs, validation: Paragraphs, codebook: Codebook, step: Callable[[], None]) -> Method:
    """Fits on `train` and tunes on `validation`; `step` is called `tfidf_steps` times."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=2 if len(train) >= 1000 else 1, sublinear_tf=True)
    vectors.fit([p.text for p in train])
    topics = {name: tune_topic(name, vectors, train, validation, step) for name in codebook.topic_names}
    stance = tune_stance(vectors, train, validation, codebook, step) if codebook.stances else None

    def predict(paragraphs: Paragraphs) -> list[Prediction]:
        features = vectors.transform([p.text for p in paragraphs])
        chosen = {name: decide(features) for name, decide in topics.items()}
        stances = stance(features) if stance else [None] * len(paragraphs)
        return [
            prediction(tuple(name for name in topics if chosen[name][row]), (), stances[row])
            for row in range(len(paragraphs))
        ]

    return Method("TF-IDF + logistic regression", (TOPICS, PARAGRAPH), predict)


def tfidf_steps(codebook: Codebook) -> int:
    return len(REGULARISATION) * (len(codebook.topics) + bool(codebook.stances))


def fitted(features: Any, labels: Sequence[object], strength: float) -> Callable[[Any], Floats]:
    """Class probabilities (N, classes in sorted order); where there is one class, it is certain."""
    from sklearn.linear_model import LogisticRegression

    if len(set(labels)) < 2:
        return lambda rows: np.ones((rows.shape[0], 1))
    model: Any = LogisticRegression(C=strength, max_iter=1000)
    probabilities: Callable[[Any], Floats] = model.fit(features, labels).predict_proba
    return probabilities


def tune_topic(
    name: str, vectors: Any, train: Paragraphs, validation: Paragraphs, step: Callable[[], None]
) -> Callable[[Any], npt.NDArray[np.bool_]]:
    """The strength and threshold with the best F1 on validation."""
    train, validation = ([p for p in part if p.topics is not None] for part in (train, validation))
    if not train or not validation:
        raise DataError("no training or no validation paragraph has labelled topics; give `--train` some")
    features, held = (vectors.transform([p.text for p in part]) for part in (train, validation))
    labels = [name in (p.topics or ()) for p in train]
    gold = np.array([name in (p.topics or ()) for p in validation])
    best: tuple[float, Callable[[Any], Floats], float] = (
        -1.0,
        lambda rows: np.zeros((rows.shape[0], 1)),
        0.5,
    )
    for strength in REGULARISATION:
        model = fitted(features, labels, strength)
        if len(set(labels)) > 1:
            held_out = model(held)[:, 1]
            scores = [f1_score(gold, held_out >= threshold) for threshold in THRESHOLDS]
            if max(scores) > best[0]:
                best = (max(scores), model, float(THRESHOLDS[int(np.argmax(scores))]))
        step()
    _, model, threshold = best
    return lambda rows: model(rows)[:, -1] >= threshold


def tune_stance(
    vectors: Any, train: Paragraphs, validation: Paragraphs, codebook: Codebook, step: Callable[[], None]
) -> Callable[[Any], list[str | None]]:
    """The strength and the weight of the priors with the best macro-F1 on validation."""
    kept = [(p, stance) for p in train if (stance := paragraph_stance(p, codebook))]
    held = [(p, stance) for p in validation if (stance := paragraph_stance(p, codebook))]
    if not kept or not held:
        raise DataError("no training or no validation paragraph has voices and narrator labelled")
    labels = [stance for _, stance in kept]
    classes = sorted(set(labels))
    log_prior = np.log([labels.count(name) / len(labels) for name in classes])
    features, held_features = (vectors.transform([p.text for p, _ in part]) for part in (kept, held))
    gold = np.array([stance for _, stance in held])

    def decide(probabilities: Floats, weight: float) -> npt.NDArray[np.str_]:
        scores = np.log(np.maximum(probabilities, 1e-12)) - weight * log_prior
        return np.array([classes[best] for best in scores.argmax(axis=1)])

    best: tuple[float, Callable[[Any], Floats], float] | None = None
    for strength in REGULARISATION:
        model = fitted(features, labels, strength)
        probabilities = model(held_features)
        for weight in PRIOR_WEIGHTS:
            found = decide(probabilities, weight)
            present = sorted({*gold.tolist(), *found.tolist()})
            score = float(np.mean([f1_score(gold == name, found == name) for name in present]))
            if best is None or score > best[0]:
                best = (score, model, weight)
        step()
    assert best is not None
    _, model, weight = best
    return lambda rows: [str(name) for name in decide(model(rows), weight)]
