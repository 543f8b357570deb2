"""Delimited files, JSON Lines and CoNLL columns: content, line numbers, and bad input."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from harness.data.read import formats, read_table
from harness.data.table import Table
from harness.errors import RequestError

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")


@pytest.fixture
def read(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Write bytes to a file of that name, and read it."""

    def run(name: str, content: bytes, format: str | None = None, **options: Any) -> Table:
        path = tmp_path / name
        path.write_bytes(content)
        return read_table(path, format, options, name)

    return run


# --- csv, tsv ---------------------------------------------------------------------------------


def test_csv_keeps_quoted_separators_quotes_and_newlines_and_counts_lines(read) -> None:
    table = read("a.csv", b'text,label\n"a, ""b""\nc",x\n\nd,y\n')
    assert table.columns == {"text": ['a, "b"\nc', "d"], "label": ["x", "y"]}
    assert table.where(0) == "a.csv:2"
    assert table.where(1) == "a.csv:5"


def test_a_byte_order_mark_is_no_part_of_the_first_name(read) -> None:
    assert list(read("a.csv", b"\xef\xbb\xbftext,label\r\na,b\r\n").columns) == ["text", "label"]


def test_a_missing_column_lists_those_that_there_are(read) -> None:
    with pytest.raises(RequestError, match=r"a\.csv: no column 'text'; it has 'body', 'label'"):
        read("a.csv", b"body,label\na,b\n").column("text")


@pytest.mark.parametrize("content", [b"", b"text,label\n", b"\n\n"])
def test_an_empty_data_set_is_an_error(read, content: bytes) -> None:
    with pytest.raises(RequestError, match=r"a\.csv: holds no examples"):
        read("a.csv", content)


def test_an_undecodable_byte_is_named_with_line_and_offset(read) -> None:
    with pytest.raises(RequestError) as caught:
        read("a.csv", b"text,label\nok,x\ncaf\xe9,y\n")
    assert str(caught.value).startswith("a.csv:3: byte 0xe9 at offset 19 is not valid utf-8")
    assert "encoding: latin-1" in str(caught.value)


def test_the_encoding_option_reads_it(read) -> None:
    assert read("a.csv", b"t\ncaf\xe9\n", encoding="latin-1").columns == {"t": ["caf\u00e9"]}
    utf16 = "t\ncaf\u00e9\n".encode("utf-16")
    assert read("a.csv", utf16, encoding="utf-16").columns == {"t": ["caf\u00e9"]}
    with pytest.raises(RequestError, match="encoding: utf-16"):
        read("a.csv", utf16)


def test_an_unknown_encoding_is_an_error(read) -> None:
    with pytest.raises(RequestError, match="unknown encoding 'utf-9'"):
        read("a.csv", b"t\na\n", encoding="utf-9")


def test_a_row_of_another_length_is_named_by_its_line(read) -> None:
    with pytest.raises(RequestError, match=r"a\.csv:4: 3 fields, where there are 2 columns"):
        read("a.csv", b'a,b\n"x\ny",1\n1,2,3\n')


def test_a_quote_that_is_never_closed_is_named_by_the_line_that_opens_it(read) -> None:
    with pytest.raises(RequestError, match=r"a\.csv:3: .*begins here is never closed"):
        read("a.csv", b'a,b\n1,2\n"x,3\n4,5\n')


def test_a_name_that_stands_twice_in_the_header_is_an_error(read) -> None:
    with pytest.raises(RequestError, match="names 'a' twice"):
        read("a.csv", b"a,a\n1,2\n")


def test_columns_name_a_file_without_a_header(read) -> None:
    table = read("a.tsv", b"good\t1\nbad\t0\n", columns=["text", "label"])
    assert table.columns == {"text": ["good", "bad"], "label": ["1", "0"]}
    assert list(table.lines) == [1, 2]


def test_quotes_can_be_plain_characters(read) -> None:
    table = read("a.tsv", b't\tl\n"so" he said\t1\n" \t0\n', quote="")
    assert table.columns["t"] == ['"so" he said', '" ']


def test_fields_may_be_longer_than_the_csv_module_likes(read) -> None:
    assert len(read("a.csv", b"t,l\n" + b"x" * 200_000 + b",1\n").columns["t"][0]) == 200_000


def test_gzip_is_unpacked_and_damage_is_named(read) -> None:
    packed = gzip.compress(b"t\na\n")
    assert read("a.csv.gz", packed).columns == {"t": ["a"]}
    with pytest.raises(RequestError, match="damaged gzip"):
        read("a.csv.gz", packed[:-6])


# --- orange-tab -------------------------------------------------------------------------------


@pytest.mark.parametrize("blank", [b"", b"\n", b"\t\n"], ids=["none", "empty", "with tabs"])
def test_orange_files_have_three_header_lines_and_perhaps_a_blank(read, blank: bytes) -> None:
    header = b"Category\tText\nd\tstring\nclass\t\n"
    table = read("a.tab", header + blank + b'earn\ta "quoted" word\nacq\tb\'s "\n')
    assert table.columns == {"Category": ["earn", "acq"], "Text": ['a "quoted" word', "b's \""]}
    assert table.lines[0] == (5 if blank else 4)


def test_a_plain_tsv_is_not_taken_for_an_orange_file(read) -> None:
    with pytest.raises(RequestError, match=r"a\.tab:2: .*format: tsv"):
        read("a.tab", b"label\ttext\nx\ty\nx\tz\nx\tw\n")


# --- jsonl ------------------------------------------------------------------------------------


def test_json_lines_may_lack_keys_and_separate_only_at_newlines(read) -> None:
    table = read("a.jsonl", '{"t": "a\u2028b", "n": [1]}\r\n\n{"t": "c"}\n'.encode())
    assert table.columns == {"t": ["a\u2028b", "c"], "n": [[1], None]}
    assert list(table.lines) == [1, 3]


@pytest.mark.parametrize(
    ("line", "message"), [("{'t': 1}", "not valid JSON"), ("[1]", "it is a list")]
)
def test_a_bad_json_line_is_named(read, line: str, message: str) -> None:
    with pytest.raises(RequestError, match=rf"a\.jsonl:2: .*{message}"):
        read("a.jsonl", f'{{"t": 1}}\n{line}\n'.encode())


# --- conll ------------------------------------------------------------------------------------

CONLL = b"""-DOCSTART- -X- -X- O

U.N. NNP I-NP I-ORG
official NN I-NP O

Ekeus NNP I-NP I-PER

-DOCSTART- -X- -X- O

Peter NNP B-NP B-PER
"""


def test_conll_sentences_belong_to_documents_and_docstart_is_none(read) -> None:
    table = read("a.conll", CONLL)
    assert table.columns == {
        "tokens": [["U.N.", "official"], ["Ekeus"], ["Peter"]],
        "tags": [["I-ORG", "O"], ["I-PER"], ["B-PER"]],
        "document": ["1", "1", "2"],
    }
    assert list(table.lines) == [3, 6, 10]


def test_without_docstart_each_sentence_is_a_document(read) -> None:
    table = read("a.conll", b"a\tO\n\t\nb\tO\nc\tB-x\n")  # a line of a tab alone is blank
    assert table.columns["document"] == ["1", "2"]


def test_only_tabs_and_blanks_separate_columns(read) -> None:
    table = read("a.conll", "a\u00a0b\tO\nNew York\tB-loc\n".encode())
    assert table.columns["tokens"] == [["a\u00a0b", "New York"]]
    assert read("a.conll", b"a   NN  O\n").columns["tags"] == [["O"]]


def test_columns_can_be_chosen(read) -> None:
    table = read("a.conll", b"1 New B-loc x\n2 York I-loc y\n", token_column=1, tag_column=2)
    assert table.columns["tokens"] == [["New", "York"]]
    assert table.columns["tags"] == [["B-loc", "I-loc"]]


def test_comments_are_left_out_where_asked(read) -> None:
    content = b"# id = 1\na O\n"
    assert read("a.conll", content, comment="# ").columns["tokens"] == [["a"]]


def test_too_few_columns_are_named_by_file_and_line(read) -> None:
    with pytest.raises(RequestError, match=r"a\.conll:2: 1 columns, where the first token has 2"):
        read("a.conll", b"a O\nb\n")
    with pytest.raises(RequestError, match=r"a\.conll:1: 1 column, and the token and its tag"):
        read("a.conll", b"a\nb\n")
    with pytest.raises(RequestError, match=r"a\.conll:1: 2 columns, but `tag_column` is 3"):
        read("a.conll", b"a O\nb O\n", tag_column=3)


# --- the common door --------------------------------------------------------------------------


def test_an_unknown_option_suggests_a_near_one(read) -> None:
    with pytest.raises(RequestError, match=r"unknown option 'encodng'.*did you mean 'encoding'"):
        read("a.csv", b"t\na\n", encodng="latin-1")


def test_an_option_of_another_type_is_an_error(read) -> None:
    with pytest.raises(RequestError, match=r"option 'token_column': .*integer.*'first'"):
        read("a.conll", b"a O\n", token_column="first")


def test_an_unknown_extension_or_format_lists_the_known(read) -> None:
    with pytest.raises(RequestError, match=r"say `format:`, one of conll, csv"):
        read("a.annotated", b"a O\n")
    with pytest.raises(RequestError, match=r"unknown data format 'cvs'; did you mean 'csv'"):
        read("a.txt", b"t\na\n", format="cvs")
    assert set(formats.names()) >= {"conll", "csv", "jsonl", "orange-tab", "parquet", "squad"}


def test_the_format_follows_the_origin_where_the_file_has_no_extension(tmp_path: Path) -> None:
    (tmp_path / "0123abcd").write_bytes(b"t\na\n")
    table = read_table(tmp_path / "0123abcd", None, {}, "pypi:x==1!data/a.csv")
    assert table.columns == {"t": ["a"]}


@needs_shared
def test_banking77_has_its_published_counts() -> None:
    train = read_table(SHARED / "banking77/train.csv", None, {}, "train.csv")
    test = read_table(SHARED / "banking77/test.csv", None, {}, "test.csv")
    assert (len(train), len(test)) == (10_003, 3_080)
    assert len(set(train.column("category"))) == 77
    first_quoted = train.column("text").index(
        next(text for text in train.column("text") if "\n" in text)
    )
    line = train.lines[first_quoted]
    raw = (SHARED / "banking77/train.csv").read_text(encoding="utf-8").split("\n")
    assert raw[line - 1].startswith('"')


@needs_shared
@pytest.mark.parametrize(
    ("name", "sentences"),
    [("wnut17train.conll", 3394), ("emerging.dev.conll", 1009), ("emerging.test.annotated", 1287)],
)
def test_wnut17_has_its_published_counts(name: str, sentences: int) -> None:
    table = read_table(SHARED / "wnut17" / name, "conll", {}, name)
    assert len(table) == sentences
    assert {tag.split("-")[0] for tags in table.columns["tags"] for tag in tags} == set("BIO")
