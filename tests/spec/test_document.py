from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipbench.errors import Fault, SpecError
from clipbench.spec.document import SpecDocument, read


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def document(folder: Path, text: str | bytes) -> SpecDocument:
    return read(written(folder, text))


def refused(path: Path) -> Fault:
    with pytest.raises(SpecError) as caught:
        read(path)
    assert caught.value.exit_code == 2
    [fault] = caught.value.faults
    return fault


def place(fault: Fault) -> tuple[int, int]:
    return fault.line, fault.column


def test_values_are_read_by_yaml_1_2_and_quoted_ones_stay_text(tmp_path: Path) -> None:
    text = "a: 1e-3\nb: no\nc: '1'\nd: [10:30, \"true\", true]\ne: |\n  12\nf:\n"
    assert document(tmp_path, text).data == {
        "a": 0.001,
        "b": "no",
        "c": "1",
        "d": ["10:30", "true", True],
        "e": "12\n",
        "f": None,
    }


def test_a_fault_points_at_the_value_or_at_its_key(tmp_path: Path) -> None:
    found = document(tmp_path, "a:\n  b: [1, {c: 2}]\n")
    value = found.fault(("a", "b", 1, "c"), "wrong")
    assert place(value) == (2, 14)
    assert str(value) == f"{tmp_path}/x.yaml:2:14: a.b.1.c: wrong\n      b: [1, {{c: 2}}]\n                 ^"
    assert place(found.fault(("a", "b", 1, "c"), "wrong", key=True)) == (2, 11)


def test_a_fault_of_what_is_not_there_points_at_what_would_hold_it(tmp_path: Path) -> None:
    found = document(tmp_path, "a:\n  b: 1\n")
    assert place(found.fault(("a", "x", "y"), "missing")) == (2, 3)
    assert place(found.fault((), "missing")) == (1, 1)


@given(
    data=st.dictionaries(
        st.from_regex(r"k[a-z]{0,5}", fullmatch=True),
        st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=3),
        min_size=1,
    ),
    indent=st.integers(1, 4),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_every_mark_stands_on_the_text_it_marks(tmp_path: Path, data: dict[str, object], indent: int) -> None:
    lines = ["top:", *(f"{' ' * indent}{key}: {value}" for key, value in data.items())]
    found = document(tmp_path, "\n".join(lines))
    assert found.data == {"top": data}
    for where, mark in found.values.items():
        value = found.data
        for part in where:
            value = value[part]  # type: ignore[index]  # a path of the document
        if not isinstance(value, dict):
            assert mark.source[mark.column - 1 :].startswith(str(value))
    for where, mark in found.keys.items():
        assert mark.source[mark.column - 1 :].startswith(f"{where[-1]}:")


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    found = document(tmp_path, b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert found.data == {"a": 1, "b": 2}
    assert place(found.fault(("b",), "wrong")) == (2, 4)
    assert found.fault(("b",), "wrong").source == "b: 2"


def test_a_duplicate_key_is_a_fault_beside_others(tmp_path: Path) -> None:
    found = document(tmp_path, "a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert [(place(one), "a second time" in one.message) for one in found.faults] == [((2, 11), True), ((3, 1), True)]
    assert "the first is in line 1" in found.faults[1].message
    assert found.data["a"] == 1


@pytest.mark.parametrize("key", ["1", "true", "~", "[a, b]", "1.5"])
def test_a_key_that_is_no_text_is_a_fault(tmp_path: Path, key: str) -> None:
    [fault] = document(tmp_path, f"a: 1\n? {key}\n: 2\n").faults
    assert place(fault) == (2, 3)
    assert "a key must be text" in fault.message


def test_a_quoted_number_is_a_key(tmp_path: Path) -> None:
    assert document(tmp_path, "'1': a\n").data == {"1": "a"}


def test_a_merge_key_is_a_fault(tmp_path: Path) -> None:
    [fault] = document(tmp_path, "a: 1\n<<: {b: 1}\n").faults
    assert place(fault) == (2, 1)
    assert "merge keys" in fault.message


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("a: &x 1\n", (1, 4), "anchors and aliases"),
        ("a: !!float 1\n", (1, 4), "tags"),
        ("a: !mine {b: 1}\n", (1, 4), "tags"),
        ("a: 1\n---\nb: 2\n", (2, 1), "a second YAML document"),
        ("a:\n\tb: 1\n", (2, 1), "a tab in the indentation"),
        ("a:\n  \tb: 1\n", (2, 3), "a tab in the indentation"),
        ("a: {b:\t1}\n", (1, 7), "a tab where a value should begin"),
        ("a: b: c\n", (1, 5), "mapping values are not allowed here"),
        ("a:\n  - 1\n  b: 2\n", (3, 3), "begun at line 2"),
        ("- a\n- b\n", (1, 1), "not a list"),
        ("just words\n", (1, 1), "not 'just words'"),
        ("a: \x07\n", (1, 4), "U+0007 is not allowed"),
        ("a: 1\nb: [1, 2\n", (3, 1), "begun at line 2"),
    ],
)
def test_what_is_no_spec_is_refused_at_its_place(tmp_path: Path, text: str, at: tuple[int, int], said: str) -> None:
    fault = refused(written(tmp_path, text))
    assert said in fault.message
    assert place(fault) == at


def test_an_anchor_and_its_aliases_are_each_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="2 errors in") as caught:
        document(tmp_path, "a: &x 1\nb: [*x]\n")
    assert [place(fault) for fault in caught.value.faults] == [(1, 4), (2, 5)]


def test_a_tab_in_a_comment_or_in_quotes_is_no_fault(tmp_path: Path) -> None:
    assert document(tmp_path, 'a: "x\ty" #\tnote\nb: 1\n').data == {"a": "x\ty", "b": 1}


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "~\n"])
def test_an_empty_file_says_what_a_spec_needs(tmp_path: Path, text: str) -> None:
    fault = refused(written(tmp_path, text))
    assert "empty" in fault.message
    assert "task, optimizers, budget and seeds" in fault.message


def test_bytes_that_are_not_utf_8_are_shown_where_they_stand(tmp_path: Path) -> None:
    fault = refused(written(tmp_path, b"a: 1\nb: caf" + b"\xe9\n"))
    assert place(fault) == (2, 7)
    assert "0xe9 is not UTF-8" in fault.message
    assert place(refused(written(tmp_path, b"\xef\xbb\xbfa: \xff"))) == (1, 4)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    fault = refused(tmp_path / "none.yaml")
    assert str(fault) == f"{tmp_path}/none.yaml: no such file"


def test_a_folder_is_no_spec(tmp_path: Path) -> None:
    assert "this is a folder" in refused(tmp_path).message


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    assert "cannot be read: File name too long" in refused(tmp_path / ("x" * 300)).message


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    assert "nested too deeply" in refused(written(tmp_path, "a: " + "[" * 1000 + "]" * 1000)).message


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("# Is it\n#   faster?\n#\n# Details.\ntask: x\n", "Is it faster?"),
        ("\n\n# Is it faster?\n\n# Details.\ntask: x\n", "Is it faster?"),
        ("# yaml-language-server: $schema=x.json\n# Is it?\ntask: x\n", "Is it?"),
        ("#\n# Is it?\ntask: x\n", "Is it?"),
        ("task: x  # no question\n# late\n", ""),
    ],
)
def test_the_question_is_the_first_paragraph_of_the_opening_comment(tmp_path: Path, text: str, question: str) -> None:
    assert document(tmp_path, text).question == question
