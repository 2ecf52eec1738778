from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.codebook import Codebook, Label, Stance
from detente.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
STANCES = ("engagement", "pressure", "mixed", "neutral")


def test_the_built_in_codebook() -> None:
    book = Codebook.default()
    assert book.version == "1.0"
    assert book.topic_names == ("human_rights", "military_tension", "diplomacy")
    assert tuple(pole.name for pole in book.poles) == ("engagement", "pressure")
    assert {stance.name: stance.poles for stance in book.stances} == {
        "engagement": ("engagement",),
        "pressure": ("pressure",),
        "mixed": ("engagement", "pressure"),
        "neutral": (),
    }
    assert book.stance_names == STANCES
    for label in (*book.topics, *book.poles, *book.stances):
        assert label.definition
        assert label.example


def test_the_file_in_configs_is_the_built_in_codebook() -> None:
    assert Codebook.from_yaml(CONFIGS / "codebook.yaml") == Codebook.default()


@pytest.mark.parametrize(
    ("voices", "stance"),
    [
        ([], "neutral"),
        (["neutral", "neutral"], "neutral"),
        (["neutral", "engagement"], "engagement"),
        (["pressure", "pressure"], "pressure"),
        (["engagement", "pressure"], "mixed"),
        (["mixed", "neutral"], "mixed"),
        (["mixed", "pressure"], "mixed"),
    ],
)
def test_the_paragraph_has_the_union_of_its_voices(voices: list[str], stance: str) -> None:
    assert Codebook.default().union(voices) == stance


@settings(deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(STANCES)), st.lists(st.sampled_from(STANCES)))
def test_the_union_depends_on_neither_order_nor_number(first: list[str], second: list[str]) -> None:
    book = Codebook.default()
    parts = [stance for stance in (book.union(first), book.union(second)) if stance]
    assert book.union([*first, *second]) == book.union([*second, *first, *second]) == book.union(parts)


def test_a_union_that_no_stance_has_is_none() -> None:
    book = Codebook(
        version="1",
        topics=(),
        poles=(Label("for_it"), Label("against_it")),
        stances=(Stance("pro", poles=("for_it",)), Stance("contra", poles=("against_it",))),
    )
    assert book.union(["pro", "contra"]) is None
    assert book.union([]) is None
    assert book.poles_of("pro") == {"for_it"}


def test_topics_alone_and_stances_alone_are_codebooks() -> None:
    assert Codebook.from_dict({"version": 1, "topics": [{"name": "sport"}]}).stance_names == ()
    assert Codebook.from_dict({"version": 1, "stances": [{"name": "plain"}]}).topic_names == ()
    with pytest.raises(ConfigError, match="a codebook needs at least one topic or one stance"):
        Codebook.from_dict({"version": 1})


def test_the_dictionary_form_round_trips_and_the_hash_is_of_the_content() -> None:
    book = Codebook.default()
    again = Codebook.from_dict(book.to_dict())
    assert again == book
    assert again.hash == book.hash
    assert len(book.hash) == 64
    other = book.to_dict() | {"version": "1.1"}
    assert Codebook.from_dict(other).hash != book.hash
    small = Codebook.from_dict({"version": "1", "topics": [{"name": "sport"}]})
    assert small.hash == "8de027426f41076960d1a8d4bd4394282ba5006153d152691a996f553e388063"


def test_every_mistake_in_the_labels_is_listed() -> None:
    with pytest.raises(ConfigError) as raised:
        Codebook(
            version="1",
            topics=(Label("sport"), Label("sport"), Label("human rights")),
            poles=(Label("up"),),
            stances=(Stance("rise", poles=("up", "down")), Stance("flat"), Stance("still")),
        )
    assert str(raised.value).splitlines() == [
        "the codebook does not hold:",
        "  - topic `sport` is defined twice",
        "  - topic name 'human rights' is no plain word of letters, digits and `_`; it names a column",
        "  - stance `rise` names the pole `down`, which is not one of: up",
        "  - stances `flat` and `still` have the same poles; a paragraph's stance could be either",
    ]


def test_every_mistake_in_the_form_is_listed() -> None:
    with pytest.raises(ConfigError) as raised:
        Codebook.from_dict(
            {
                "topic": [],
                "topics": {"sport": 1},
                "poles": [{"name": "up", "colour": "red"}, "down"],
                "stances": [{"name": False}, {"name": "rise", "poles": "up"}],
            }
        )
    assert str(raised.value).splitlines() == [
        "the codebook does not hold:",
        "  - unknown key `topic`; allowed: version, topics, poles, stances",
        "  - missing key `version`",
        "  - topics: must be a list of mappings with at least `name`",
        "  - poles 1: unknown key `colour`; allowed: definition, example, name",
        "  - poles 2: must be a mapping with at least `name`, a text",
        "  - stances 1: must be a mapping with at least `name`, a text",
        "  - stances 2: `poles` must be a list of pole names, or []",
    ]


def test_what_is_not_a_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match="it must be a mapping with: version, topics, poles, stances"):
        Codebook.from_dict([])  # type: ignore[arg-type]


def test_an_empty_definition_is_empty() -> None:
    book = Codebook.from_dict({"version": 1, "topics": [{"name": "sport", "definition": None}]})
    assert book.topics == (Label("sport"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version: [", "is not valid YAML"),
        (b"version: '\xff'", "is not UTF-8 text; save it as UTF-8"),
        (b"version: 1\n", r"book.yaml: the codebook does not hold:\n  - a codebook needs"),
        (b"", "it must be a mapping"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "book.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        Codebook.from_yaml(path)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the codebook .*none.yaml: No such file"):
        Codebook.from_yaml(tmp_path / "none.yaml")
