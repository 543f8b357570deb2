import pytest

from harness.data.mrc import QUESTIONS, mrc_from_ner
from harness.data.table import Table
from harness.errors import RequestError
from harness.tasks.question_answering import QuestionAnswering


def table(*rows: tuple[str, str]) -> Table:
    words = [text.split() for text, _ in rows]
    return Table(
        {"tokens": words, "tags": [tags.split() for _, tags in rows]},
        "ner.txt",
        [10 * (i + 1) for i in range(len(rows))],
    )


NER = table(
    ("Ann Lee met Bo in Oslo", "B-PER I-PER O B-PER O B-LOC"),
    ("It rained .", "O O O"),
    ("Oslo sleeps", "B-LOC O"),
)


def test_every_entity_of_a_type_is_an_answer_at_its_offset():
    derived = mrc_from_ner(NER, {"unanswerable_share": None})
    assert derived.columns["id"] == [
        "000000-LOC", "000000-PER", "000001-LOC", "000001-PER", "000002-LOC", "000002-PER",
    ]  # fmt: skip
    assert derived.columns["context"][1] == "Ann Lee met Bo in Oslo"
    assert derived.columns["answers"][1] == [
        {"text": "Ann Lee", "start": 0},
        {"text": "Bo", "start": 12},
    ]
    assert derived.columns["question"][:2] == [QUESTIONS["LOC"], QUESTIONS["PER"]]
    assert derived.columns["is_impossible"] == [False, False, True, True, False, True]
    assert derived.columns["paragraph"][2:4] == ["000001", "000001"]
    assert derived.where(4) == "ner.txt:30"


def test_the_task_reads_what_is_derived():
    derived = mrc_from_ner(NER, {"unanswerable_share": None})
    examples = QuestionAnswering({}).examples(derived, "test")
    assert examples.fields["answers"][1] == [(0, 7), (12, 14)]
    assert len(set(examples.clusters)) == 3


def many(sentences: int) -> Table:
    pair = [("Ann sleeps", "B-PER O"), ("Oslo and Rome", "B-LOC O B-LOC")]
    return table(*pair * (sentences // 2))


def test_a_third_of_the_questions_is_unanswerable_and_no_answerable_one_is_lost():
    derived = mrc_from_ner(many(200), {})
    impossible = derived.columns["is_impossible"]
    assert impossible.count(False) == 200
    assert impossible.count(True) == 100


def test_the_draw_depends_on_the_seed_alone():
    first = mrc_from_ner(many(200), {"seed": 1}).columns["id"]
    assert first == mrc_from_ner(many(200), {"seed": 1}).columns["id"]
    assert first != mrc_from_ner(many(200), {"seed": 2}).columns["id"]


def test_where_there_are_too_few_unanswerable_questions_all_stay():
    assert len(mrc_from_ner(NER, {"unanswerable_share": 0.9})) == 6


def test_other_types_get_a_question_from_their_name_unless_one_is_given():
    data = table(("Guernica hangs", "B-creative-work O"))
    assert mrc_from_ner(data, {}).columns["question"] == ["Which creative work is named?"]
    given = {"questions": {"creative-work": "Which painting?"}}
    assert mrc_from_ner(data, given).columns["question"] == ["Which painting?"]


def test_other_schemes_are_read_and_bad_tags_refused():
    data = table(("Ann Lee met", "I-PER I-PER O"))
    assert mrc_from_ner(data, {}).columns["answers"][0] == [{"text": "Ann Lee", "start": 0}]
    with pytest.raises(RequestError, match=r"ner\.txt:10"):
        mrc_from_ner(table(("Ann", "PER")), {})
    with pytest.raises(RequestError, match="unknown option 'share'"):
        mrc_from_ner(data, {"share": 0.5})
    with pytest.raises(RequestError, match="unanswerable_share"):
        mrc_from_ner(data, {"unanswerable_share": 1.0})
