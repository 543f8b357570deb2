import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from harness.data.table import Table
from harness.errors import RequestError
from harness.tasks.base import IGNORED_LABEL, Encoded, Ragged, TextEncoder
from harness.tasks.metrics.entities import entity_metrics
from harness.tasks.tagging import detect_scheme, entities, rows_to_iob2
from harness.tasks.token_classification import TokenClassification

WNUT = Path(__file__).parents[2] / "shared" / "data" / "wnut17"
# One sentence (Ann Lee, Bo: PER; adjacent) in every scheme that can say it.
SAME_ENTITIES = {
    "IOB1": "O I-PER I-PER B-PER O I-ORG",
    "IOB2": "O B-PER I-PER B-PER O B-ORG",
    "IOE1": "O I-PER E-PER I-PER O I-ORG",
    "IOE2": "O I-PER E-PER E-PER O E-ORG",
    "BIOES": "O B-PER E-PER S-PER O S-ORG",
    "BILOU": "O B-PER L-PER U-PER O U-ORG",
}


def where(row: int) -> str:
    return f"ner.txt:{row + 1}"


@pytest.mark.parametrize("scheme", SAME_ENTITIES)
def test_every_scheme_is_detected_and_means_the_same_entities(scheme):
    rows = [SAME_ENTITIES[scheme].split()]
    assert detect_scheme(rows, where) == scheme
    assert rows_to_iob2(rows, where) == [SAME_ENTITIES["IOB2"].split()]
    assert rows_to_iob2(rows, where, scheme) == [SAME_ENTITIES["IOB2"].split()]


def test_the_whole_file_decides_not_its_first_sentence():
    rows = [["B-PER", "B-PER"], ["O", "I-LOC"]]  # only the second tells IOB1, and breaks it: B- B-
    with pytest.raises(RequestError, match=r"not IOB2 \(ner\.txt:2: word 2.*not IOB1 \(ner\.txt:1"):
        rows_to_iob2(rows, where)
    assert rows_to_iob2([["I-PER", "B-PER"], ["O", "I-LOC"]], where) == [
        ["B-PER", "B-PER"],
        ["O", "B-LOC"],
    ]


@pytest.mark.parametrize(
    ("tags", "scheme", "message"),
    [
        ("O PER", None, "ner.txt:1: word 2 has the tag 'PER'"),
        ("O B-", None, "word 2 has the tag 'B-'"),
        ("O X-PER", None, "word 2 has the tag 'X-PER'"),
        ("O I-PER", "IOB2", "word 2 has the tag 'I-PER' after 'O', which IOB2 does not allow"),
        ("B-PER I-LOC", "bio", "word 2 has the tag 'I-LOC' after 'B-PER'"),
        ("B-PER O", "BIOES", "word 1 has the tag 'B-PER' before 'O'"),
        ("S-PER", "IOB2", "word 1 has the tag 'S-PER', which IOB2"),
        ("B-PER E-LOC", None, "follow no known scheme: not BIOES"),
        ("O", "IOB3", "unknown tagging scheme 'IOB3'"),
    ],
)
def test_tags_that_break_the_scheme_are_refused(tags, scheme, message):
    with pytest.raises(RequestError) as caught:
        rows_to_iob2([tags.split()], where, scheme)
    assert message in str(caught.value)


def test_conlleval_reading_begins_an_entity_at_a_stray_inside_tag():
    assert rows_to_iob2([["B-PER", "I-LOC", "O", "I-PER"]], where, "conlleval") == [
        ["B-PER", "B-LOC", "O", "B-PER"]
    ]


def test_strict_entities_ignore_an_inside_tag_that_continues_nothing():
    assert entities(["I-PER", "B-PER", "I-PER", "I-LOC", "B-LOC", "B-LOC"]) == {
        (1, 3, "PER"),
        (4, 5, "LOC"),
        (5, 6, "LOC"),
    }


TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
SENTENCE = st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8)
SENTENCES = st.lists(SENTENCE, min_size=1, max_size=5)


def task_and_frame(pairs: list[list[tuple[str, str]]]):
    """A task, and its decoded frame where the logits say the second tag of each pair."""
    labels = ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
    task = TokenClassification({}, labels)
    # Straight into fields: gold tags of any form, as no reader would let them pass.
    from harness.tasks.base import Examples

    ids = [str(i) for i in range(len(pairs))]
    gold = [[a for a, _ in sentence] for sentence in pairs]
    examples = Examples(ids, ids, {"tokens": [["w"] * len(s) for s in pairs], "tags": gold})
    logits = [np.eye(5)[[labels.index(b) for _, b in sentence]] for sentence in pairs]
    encoded = Encoded(
        {},
        {},
        np.arange(len(pairs)),
        np.zeros(len(pairs), bool),
        {"word_position": Ragged.of([np.arange(len(s)) for s in pairs])},
    )
    return task, task.decode(examples, encoded, logits)


@settings(max_examples=300, deadline=None, database=None)
@given(SENTENCES)
def test_per_example_counts_sum_to_seqevals_strict_f1(pairs):
    task, frame = task_and_frame(pairs)
    gold = [[a for a, _ in sentence] for sentence in pairs]
    predicted = [[b for _, b in sentence] for sentence in pairs]
    total = frame["score_den"].sum()
    ours = frame["score_num"].sum() / total if total else 0.0
    if total:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert ours == pytest.approx(
                f1_score(gold, predicted, mode="strict", scheme=IOB2), abs=1e-12
            )
    assert task.metrics(frame)["f1_entity"] == pytest.approx(ours, abs=1e-12)


def test_entity_metrics_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC"]]
    found = [["B-PER", "O", "O", "B-LOC"], ["O", "I-LOC"]]
    metrics = entity_metrics(gold, found)
    assert metrics["precision_entity"] == 1 / 2  # of (Ann), (Paris)
    assert metrics["recall_entity"] == pytest.approx(1 / 3)
    assert metrics["f1_entity"] == pytest.approx(2 * 1 / (2 + 3))
    assert metrics["per_type"]["LOC"] == pytest.approx(
        {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2}
    )
    assert metrics["per_type"]["PER"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert metrics["token_accuracy"] == pytest.approx(4 / 6)


def test_entity_metrics_without_any_entity_are_zero_and_not_an_error():
    metrics = entity_metrics([["O"], []], [["O"], []])
    assert metrics["f1_entity"] == 0
    assert metrics["per_type"] == {}
    assert metrics["token_accuracy"] == 1


def test_agreement_is_by_entity_and_not_flattered_by_o():
    o = ("O", "O")
    task, a = task_and_frame([[o] * 7 + [("O", "B-PER")], [("O", "B-LOC")]])
    _, b = task_and_frame([[o] * 7 + [("O", "O")], [("O", "B-LOC")]])
    assert task.agreement(a, b) == pytest.approx(2 * 1 / (2 + 1))
    _, none = task_and_frame([[o] * 8, [o]])
    assert task.agreement(none, none) == 1.0


def wordpiece() -> Tokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words += ["ann", "##a", "lee", "in", "the", "o", "##s", "##lo"]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def ner_task(rows: list[tuple[str, str]], **columns: list):
    data = Table(
        {
            "tokens": [words.split(" ") for words, _ in rows],
            "tags": [tags.split() for _, tags in rows],
            **columns,
        },
        "ner.txt",
        list(range(1, len(rows) + 1)),
    )
    examples = TokenClassification({}).examples(data, "train")
    return TokenClassification({}, TokenClassification({}).find_labels(examples)), examples


def test_labels_stand_on_first_sub_tokens_only():
    task, examples = ner_task([("Anna in Oslo", "B-PER O B-LOC")])
    encoded = task.encode(examples, TextEncoder(wordpiece(), 16))
    per, loc, out = (task.labels.index(tag) for tag in ("B-PER", "B-LOC", "O"))
    ignored = IGNORED_LABEL
    assert encoded.inputs["input_ids"][0].tolist() == [2, 4, 5, 7, 9, 10, 11, 3]
    assert encoded.targets["labels"][0].tolist() == [
        ignored, per, ignored, out, loc, ignored, ignored, ignored,
    ]  # fmt: skip
    assert encoded.extras["word_position"][0].tolist() == [1, 3, 4]


def test_words_cut_off_are_predicted_outside_and_stay_in_the_score():
    task, examples = ner_task([("Anna in Oslo", "B-PER O B-LOC"), ("Ann", "B-PER")])
    encoded = task.encode(examples, TextEncoder(wordpiece(), 4))
    assert encoded.truncated.tolist() == [True, False]
    sure_of_person = np.zeros((4, len(task.labels)))
    sure_of_person[:, task.labels.index("B-PER")] = 1
    frame = task.decode(examples, encoded, [sure_of_person, sure_of_person[:3]])
    assert frame["prediction"].tolist() == ["B-PER O O", "B-PER"]
    assert frame["n_gold"].tolist() == [2, 1]
    assert frame["target"][0] == "B-PER O B-LOC"


def test_a_word_of_which_the_tokenizer_leaves_nothing_is_predicted_outside():
    task, examples = ner_task([("Ann \u200e in", "B-PER I-PER O")])  # a left-to-right mark
    encoded = task.encode(examples, TextEncoder(wordpiece(), 16))
    assert encoded.extras["word_position"][0].tolist() == [1, -1, 2]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["the man saw the man in Oslo"] * 20, trainer)
    return tokenizer


def sentencepiece_like() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
    tokenizer.train_from_iterator(["the man saw the man in Oslo"] * 20, trainer)
    return tokenizer


@pytest.mark.parametrize("tokenizer", [wordpiece(), byte_level(), sentencepiece_like()])
def test_words_are_read_as_in_running_text(tokenizer):
    task, examples = ner_task([("the man in Oslo", "O O O B-LOC")])
    encoded = task.encode(examples, TextEncoder(tokenizer, 64))
    assert encoded.inputs["input_ids"][0].tolist() == tokenizer.encode("the man in Oslo").ids
    assert (np.diff(encoded.extras["word_position"][0]) > 0).all()


def test_baselines_get_lists_of_words_and_answer_per_word():
    task, examples = ner_task([("Ann Lee", "B-PER I-PER"), ("in Oslo", "O B-LOC")])
    encoded = task.encode(examples, TextEncoder(None, 2))
    assert encoded.inputs["text"].tolist() == [["Ann", "Lee"], ["in", "Oslo"]]
    assert encoded.inputs["text"].shape == (2,)
    logits = [np.eye(len(task.labels))[encoded.targets["labels"][i]] for i in range(2)]
    frame = task.decode(examples, encoded, logits)
    assert frame["prediction"].tolist() == frame["target"].tolist()
    assert frame["score_num"].sum() / frame["score_den"].sum() == 1


def test_labels_hold_both_tags_of_every_type_and_other_types_are_refused():
    task, _ = ner_task([("Oslo", "B-LOC")])
    assert task.labels == ["B-LOC", "I-LOC", "O"]
    _, other = ner_task([("Ann", "B-PER")])
    with pytest.raises(RequestError, match=r"test\.txt: entity type.*PER"):
        task.check_labels(other, "test.txt")


def test_documents_are_clusters_unless_the_file_is_one_single_document():
    rows = [("Ann", "B-PER"), ("Lee", "B-PER"), ("Oslo", "B-LOC")]
    _, examples = ner_task(rows, document=[1, 1, 2])
    assert examples.clusters == ["1", "1", "2"]
    _, examples = ner_task(rows, document=[0, 0, 0])
    assert examples.clusters == examples.ids


def test_hub_layout_columns_are_found():
    data = Table({"tokens": [["Ann"]], "ner_tags": [["B-PER"]]}, "ner.parquet")
    assert TokenClassification({}).examples(data, "test").fields["tags"] == [["B-PER"]]
    data = Table({"tokens": [["Ann"]], "ner_tags": [[1]]}, "ner.parquet")
    with pytest.raises(RequestError, match=r"ner\.parquet \(row 1\): column 'ner_tags'"):
        TokenClassification({}).examples(data, "test")


def test_sentences_with_unequal_words_and_tags_are_refused():
    data = Table({"tokens": [["Ann", "Lee"]], "tags": [["B-PER"]]}, "ner.txt", [7])
    with pytest.raises(RequestError, match=r"ner\.txt:7: 2 words but 1 tags"):
        TokenClassification({}).examples(data, "test")


@pytest.mark.skipif(not WNUT.exists(), reason="WNUT-17 is not here")
def test_wnut17_is_iob2_with_the_published_number_of_entities():
    sentences: list[list[str]] = [[]]
    for line in (WNUT / "emerging.test.annotated").read_text(encoding="utf-8").splitlines():
        if line.strip():
            sentences[-1].append(line.split("\t")[1].strip())
        elif sentences[-1]:
            sentences.append([])
    rows = [row for row in sentences if row]
    assert len(rows) == 1287
    assert detect_scheme(rows, where) == "IOB2"
    assert sum(len(entities(row)) for row in rows) == 1079
