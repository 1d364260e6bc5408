"""Files of people: JSON, YAML, and what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from sriov.errors import InputError
from sriov.source import parse_documents, read_document, read_documents


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("", ()),
        ("---\n---\n", ()),
        ("a: 1\n", ({"a": 1},)),
        ("a: 1\n---\n---\nb: 2\n", ({"a": 1}, {"b": 2})),
        ('{"a": [1]}', ({"a": [1]},)),
        ('{\n\t"a":\t1\n}', ({"a": 1},)),
        ("{a: 1}", ({"a": 1},)),
        ("x: &x {a: 1}\ny:\n  <<: *x\n  a: 2\n", ({"x": {"a": 1}, "y": {"a": 2}},)),
    ],
)
def test_json_and_yaml_are_read(text: str, documents: tuple[object, ...]) -> None:
    assert parse_documents(text, source="f") == documents


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f: is not YAML or JSON: key 'a' is given twice in line 3, column 1"),
        ('{"a": 1, "a": 2}', "f: key 'a' is given twice"),
        ("a: [1", "f: is not YAML or JSON"),
        ("a: !!python/object:os.system {}", "f: is not YAML or JSON"),
        ("\x00", "f: is not YAML or JSON"),
    ],
)
def test_faults_are_told_with_their_place(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        parse_documents(text, source="f")
    assert said in str(error.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_documents(tmp_path / "absent.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_documents(tmp_path / "binary")


def test_one_document_is_read_and_several_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: 1\n", encoding="utf-8")
    assert read_document(path) == {"a": 1}
    path.write_text("", encoding="utf-8")
    assert read_document(path) is None
    path.write_text("a: 1\n---\nb: 2\n", encoding="utf-8")
    with pytest.raises(InputError, match="has 2 documents"):
        read_document(path)
