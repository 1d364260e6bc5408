"""Read a file that people wrote: JSON, or YAML with one or several documents.

A key given twice in one mapping is a fault: YAML parsers take the last one silently, and the author meant both.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path

import yaml

from sriov.errors import InputError


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:  # noqa: FBT001, FBT002 - the library's signature
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_document(path: Path) -> object:
    """Read the one document in the file at `path`; None when there is none.

    Raises:
        InputError: the file cannot be read, is neither JSON nor YAML, or holds several documents.
    """
    return _only(read_documents(path), source=str(path))


def parse_document(text: str, *, source: str) -> object:
    """Read `text` as one document, None when it is empty; `source` names it in errors.

    Raises:
        InputError: it is neither JSON nor YAML, or holds several documents.
    """
    return _only(parse_documents(text, source=source), source=source)


def _only(documents: tuple[object, ...], *, source: str) -> object:
    if len(documents) > 1:
        raise InputError(source, f"has {len(documents)} documents", hint="it must be one")
    return documents[0] if documents else None


def read_documents(path: Path) -> tuple[object, ...]:
    """Read the documents in the file at `path`, empty ones left out.

    Raises:
        InputError: the file cannot be read, or is neither JSON nor YAML.
    """
    return parse_documents(read_text(path), source=str(path))


def read_text(path: Path, *, hint: str = "give the path of a file") -> str:
    """Read the text of a file that people wrote.

    Raises:
        InputError: the file cannot be read, or is no UTF-8; `hint` says what to do when it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), f"cannot read it: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise InputError(str(path), "is not UTF-8 text", hint=str(error)) from error


def parse_documents(text: str, *, source: str) -> tuple[object, ...]:
    """Read `text` as JSON, else as YAML; `source` names it in errors.

    JSON goes first because YAML forbids the tabs that JSON files may be indented with.

    Raises:
        InputError: it is neither, or gives a key twice.
    """
    if text.lstrip().startswith("{"):
        try:
            return (json.loads(text, object_pairs_hook=_without_repeats),)
        except json.JSONDecodeError:
            pass  # a YAML flow mapping also begins with a brace; YAML's own complaint follows if it is none
        except ValueError as error:
            raise InputError(source, str(error), hint="keep one of the two") from None
    try:
        return tuple(document for document in yaml.load_all(text, Loader=_StrictLoader) if document is not None)
    except yaml.YAMLError as error:
        raise InputError(source, f"is not YAML or JSON: {_said(error)}", hint="correct the file") from error


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} is given twice")
        found[key] = value
    return found


def _said(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} in line {mark.line + 1}, column {mark.column + 1}"
    return " ".join(str(error).split())
