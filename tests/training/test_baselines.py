import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from detente.codebook import Codebook
from detente.errors import DataError
from detente_training.baselines import majority, tfidf, tfidf_steps, verb_of_saying
from detente_training.labelled import LabelledParagraph, LabelledVoice, read_labelled
from detente_training.metrics import evaluate

ROOT = Path(__file__).parents[2]
CODEBOOK = Codebook.default()
METHODS = ["majority", "TF-IDF + logistic regression", "verb of saying"]


def labelled(number, text, topics, narrator=None, voices=()):
    return LabelledParagraph(f"p{number}", f"d{number}", text, topics, voices, narrator, True)


HE = (LabelledVoice(0, 2, "neutral"),)
TRAIN = [
    labelled(1, "The envoys opened talks.", ("diplomacy",)),
    labelled(2, "He spoke of talks and envoys.", ("diplomacy",), "engagement", HE),
    labelled(3, "Talks need envoys; open the talks.", ("diplomacy",), "engagement"),
    labelled(4, "Rockets fell; sanctions must stay.", ("military_tension",), "pressure"),
    labelled(5, "The rockets need an answer by sanctions.", (), "pressure"),
    labelled(6, "The match was a draw.", None),
    labelled(7, "The film was long.", ()),
]
VALIDATION = [
    labelled(8, "Envoys want talks.", ("diplomacy",), "engagement"),
    labelled(9, "Rockets and sanctions.", ("military_tension",), "pressure"),
    labelled(10, "A long match.", ()),
]


def test_majority_says_what_most_training_paragraphs_have():
    method = majority(TRAIN, CODEBOOK)
    first, *_ = method.predict(TRAIN[1:2])
    assert first.topics == ()  # diplomacy: three of six labelled, not most
    assert first.stance == "neutral"  # three of seven paragraphs
    # engagement and pressure both stand twice among the mentions, neutral once; the codebook's order decides
    assert first.gold_stances == ({"engagement": 1.0}, {"engagement": 1.0})
    assert majority(TRAIN[:5], CODEBOOK).predict(TRAIN[:1])[0].topics == ("diplomacy",)


def test_tfidf_learns_topics_and_paragraph_stance():
    calls = []
    method = tfidf(TRAIN, VALIDATION, CODEBOOK, lambda: calls.append(1))
    assert len(calls) == tfidf_steps(CODEBOOK) == 20
    found = method.predict([labelled(11, "Talks, talks, envoys.", ()), labelled(12, "Sanctions for rockets.", ())])
    assert [(p.topics, p.stance) for p in found] == [
        (("diplomacy",), "engagement"),
        (("military_tension",), "pressure"),
    ]
    report = evaluate(VALIDATION, method.predict(VALIDATION), CODEBOOK, bootstrap=0)
    assert report.topics.labels["diplomacy"].f1.value == 1.0
    assert report.topics.labels["human_rights"].f1.value is None  # never seen, never found


def test_tfidf_names_what_it_lacks():
    with pytest.raises(DataError, match="no validation paragraph has labelled topics"):
        tfidf(TRAIN, [], CODEBOOK, lambda: None)
    topicless = replace(CODEBOOK, topics=())
    with pytest.raises(DataError, match="no validation paragraph has voices and narrator labelled"):
        tfidf(TRAIN, [], topicless, lambda: None)


def test_verb_of_saying_finds_neutral_voices():
    method = verb_of_saying(CODEBOOK)
    paragraph = labelled(13, "He said no. They insisted, he added.", (), None, HE)
    (prediction,) = method.predict([paragraph])
    assert [(v.start, v.end, v.stance) for v in prediction.voices] == [(0, 2, "neutral"), (12, 16, "neutral")]
    report = evaluate([paragraph], [prediction], CODEBOOK)
    assert report.voices.with_stance.f1.value == pytest.approx(2 / 3)


# --- the script ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    path = ROOT / "scripts" / "baselines.py"
    spec = importlib.util.spec_from_file_location("baselines_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script, *arguments):
    return CliRunner(env={"COLUMNS": "100"}).invoke(script.app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    """A few rows of the project's corpus, of each split."""
    kept = {"train": 40, "validation": 20, "test": 20}
    lines = []
    for line in (ROOT / "training" / "corpus" / "DW.jsonl").read_text(encoding="utf-8").splitlines():
        split = json.loads(line)["split"]
        if kept[split]:
            kept[split] -= 1
            lines.append(line)
    assert set(kept.values()) == {0}
    path = tmp_path_factory.mktemp("data") / "some.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_script_prints_a_table_for_each_set_beside_a_model(script, some, tmp_path):
    test = [p for p in read_labelled([some], CODEBOOK) if p.split == "test"]
    report = evaluate(test, verb_of_saying(CODEBOOK).predict(test), CODEBOOK, bootstrap=0)
    (tmp_path / "tiny.json").write_text(json.dumps(report.to_dict()), encoding="utf-8")
    result = run(
        script,
        *("--train", some, "--data", f"small set={some}", "--data", f"{some}@validation", "--bootstrap", 20),
        *("--report", f"small set={tmp_path / 'tiny.json'}", "--json", tmp_path / "out.json"),
    )
    assert result.exit_code == 0, result.output
    assert "small set: 20 paragraphs (n: support)" in result.stdout
    assert "some: 20 paragraphs (n: support)" in result.stdout
    figures = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert list(figures["small set"]) == [*METHODS, "tiny"]
    assert list(figures["some"]) == METHODS
    rule = figures["small set"]["verb of saying"]
    assert list(rule) == ["voices F1", "voice+stance F1"]
    assert rule["voices F1"]["value"] == figures["small set"]["tiny"]["voices F1"]["value"]
    assert rule["voices F1"]["low"] is not None
    assert figures["small set"]["majority"]["paragraph stance macro-F1"]["support"] == 20


@pytest.fixture(scope="module")
def tiny_model(some, tmp_path_factory):
    """A bundle with random weights and the words of a few rows."""
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from detente.bundle import save_bundle
    from detente.calibration import Calibration
    from detente.network import DetenteConfig, DetenteModel

    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    texts = [p.text for p in read_labelled([some], CODEBOOK)]
    words.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=special))
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    encoder = {
        "model_type": "bert",
        "vocab_size": words.get_vocab_size(),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    torch.manual_seed(0)
    model = DetenteModel(DetenteConfig(encoder, CODEBOOK.to_dict()))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_bundle(folder, model, tokenizer, CODEBOOK, Calibration(), {}, "card", {})
    return folder


def test_the_script_measures_a_model_itself(script, some, tmp_path, tiny_model):
    out = tmp_path / "out.json"
    result = run(
        script,
        *("--train", some, "--data", some, "--bootstrap", 0),
        *("--model", tiny_model, "--json", out),
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text(encoding="utf-8"))["some"]
    assert list(figures) == [*METHODS, str(tiny_model)]
    assert len(figures[str(tiny_model)]) == 12
    assert figures[str(tiny_model)]["ECE topics"]["support"] == 60


def test_a_model_with_another_codebook_is_refused(script, some, tmp_path, tiny_model):
    other = tmp_path / "other.yaml"
    text = (ROOT / "configs" / "codebook.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    data["topics"].append({"name": "trade"})
    other.write_text(yaml.safe_dump(data), encoding="utf-8")
    result = run(script, "--train", some, "--data", some, "--model", tiny_model, "--codebook", other)
    assert result.exit_code == 1
    assert "has another codebook; name its codebook.yaml with `--codebook`" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{some}@train"], "documents of the set `some` are trained on, DW-"),
        (["--data", "{empty}"], "nothing in split `test`, only in: (none)"),
        (["--data", "{some}", "--report", "other={some}"], "there is no set `other`; sets: some"),
        (["--data", "{some}", "--report", "{some}"], "cannot read the report"),
        (["--data", "{some}", "--report", "{none}"], "cannot read the report"),
        (["--data", "{some}", "--report", "{wrong}"], "reports on 1 paragraphs, but the set `some` has 20"),
        (["--data", "{some}", "--report", "{listed}"], "this is no report of an evaluation"),
        (["--data", "{some}", "--train", "{none}"], "none.jsonl"),
        (["--data", "{some}", "--model", "{none}"], "there is no model"),
    ],
)
def test_the_script_says_what_is_wrong(script, some, tmp_path, arguments, message):
    paths = {name: tmp_path / f"{name}.jsonl" for name in ("empty", "none", "wrong", "listed")}
    paths["empty"].write_text('{"id": "a", "document": "a", "text": "Bare."}\n', encoding="utf-8")
    one = evaluate(VALIDATION[:1], verb_of_saying(CODEBOOK).predict(VALIDATION[:1]), CODEBOOK, bootstrap=0)
    paths["wrong"].write_text(json.dumps({"report": one.to_dict()}), encoding="utf-8")
    paths["listed"].write_text("[]", encoding="utf-8")
    result = run(script, "--train", some, *(a.format(some=some, **paths) for a in arguments))
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())


def test_training_files_need_both_splits(script, tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text('{"id": "a", "document": "a", "text": "Bare.", "split": "train", "topics": []}\n', encoding="utf-8")
    result = run(script, "--train", path, "--data", f"{path}@all")
    assert result.exit_code == 1
    assert "needs paragraphs in both splits, train and validation" in result.stderr
