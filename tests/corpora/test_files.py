import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clipbench.corpora.files import files_of, records, text_in
from clipbench.errors import ClipbenchError

PAIR = {"id": 3, "translation": {"en": "one", "fr": "un"}}


def test_a_line_of_json_is_a_record_and_a_text_is_one_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(PAIR)}\n\n{json.dumps({'text': 'two'})}\n")
    (tmp_path / "b.py").write_text("x = 1\ny = 2\n")
    (tmp_path / ".hidden").write_text("no record")
    assert list(records(files_of(tmp_path))) == [PAIR, {"text": "two"}, {"text": "x = 1\ny = 2\n"}]
    assert list(records(files_of(tmp_path, "*.jsonl"), 1)) == [PAIR]
    assert files_of(tmp_path / "b.py", "of no matter") == [tmp_path / "b.py"]


def test_a_row_of_parquet_is_a_record(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="not installed: pyarrow")
    pytest.importorskip("pyarrow.parquet", reason="not installed: pyarrow").write_table(
        arrow.Table.from_pylist([PAIR, PAIR]), tmp_path / "part.parquet"
    )
    assert list(records(files_of(tmp_path, "**/*.parquet"))) == [PAIR, PAIR]
    (tmp_path / "part.parquet").write_bytes(b"PAR1, but nothing else")
    with pytest.raises(ClipbenchError, match="not Parquet"):
        list(records(files_of(tmp_path)))


@pytest.mark.parametrize(
    ("record", "field", "text"),
    [(PAIR, "translation.fr", "un"), (PAIR, "id", "3"), ({"text": ""}, "text", "")],
)
def test_a_field_is_a_text_or_a_whole_number(record: Mapping[str, Any], field: str, text: str) -> None:
    assert text_in(record, field) == text


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("translation.de", "no field 'translation.de'.*\n.*en, fr"),
        ("text", "no field 'text'.*\n.*id, translation"),
        ("translation", "is of type dict, not a text"),
    ],
)
def test_a_field_that_is_not_there_is_an_error_that_names_those_that_are(field: str, said: str) -> None:
    with pytest.raises(ClipbenchError) as caught:
        text_in(PAIR, field)
    caught.match(said)


@pytest.mark.parametrize(
    ("content", "said"), [("{}\n[1]\n", r"a\.jsonl:2: a list, not a JSON object"), ("{", r"a\.jsonl:1: not JSON")]
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(ClipbenchError, match=said):
        list(records(files_of(tmp_path)))


@pytest.mark.parametrize("pattern", ["", "*.parquet"])
def test_a_folder_without_such_files_is_an_error(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(ClipbenchError, match="no file"):
        files_of(tmp_path, pattern)
