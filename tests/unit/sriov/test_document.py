"""What people wrote becomes checked values, or every fault of it at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov.document import Faults, Section, nearest, parse_address, parse_interface, parse_network
from sriov.errors import InputError
from sriov.model import PciAddress

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


def section(value: object) -> tuple[Section, Faults]:
    faults = Faults()
    return Section(value, path="policy.yaml:", faults=faults), faults


def test_values_are_read_by_their_type() -> None:
    reader, faults = section(
        {"name": "a", "numVfs": 4, "on": True, "pf": "0000:01:00.0", "more": {"x": 1}, "list": [{"y": 2}]}
    )
    assert reader.text("name") == "a"
    assert reader.integer("numVfs") == 4
    assert reader.boolean("on") is True
    assert reader.parsed("pf", PciAddress.parse) == PciAddress(0, 1, 0, 0)
    more = reader.section("more")
    assert more is not None
    assert more.integer("x") == 1
    assert [item.integer("y") for item in reader.sections("list")] == [2]
    reader.finish()
    faults.raise_if_any()


def test_every_fault_is_told_at_once_with_its_place() -> None:
    reader, faults = section({"numVf": 4, "mtu": "9000", "eSwitchMode": "switchdevv", "pf": "x", "l": [1], "s": "x"})
    reader.required("numVfs", reader.integer("numVfs"))
    reader.integer("mtu")
    reader.choice("eSwitchMode", ("legacy", "switchdev"))
    reader.parsed("pf", PciAddress.parse)
    reader.parsed_list("l", parse_address)
    reader.sections("s")
    reader.finish()
    with pytest.raises(InputError) as caught:
        faults.raise_if_any()
    lines = str(caught.value).splitlines()
    assert "policy.yaml: numVfs: is missing" in lines
    assert "policy.yaml: mtu: '9000' is a text, must be an integer (write it without quotes: 9000)" in lines
    assert "policy.yaml: eSwitchMode: 'switchdevv' is not one of legacy, switchdev (did you mean 'switchdev'?)" in lines
    assert any(line.startswith("policy.yaml: pf: 'x' is not a PCI address") for line in lines)
    assert "policy.yaml: l[0]: 1 is an integer, must be a text" in lines
    assert "policy.yaml: s: 'x' is a text, must be a list" in lines
    assert "policy.yaml: numVf: is not a known key (did you mean 'numVfs'?)" in lines


@pytest.mark.parametrize(("value", "word"), [(True, "a boolean"), (1.5, "a number"), ("4", "a text"), ([], "a list")])
def test_what_is_no_integer_is_not_taken_for_one(value: object, word: str) -> None:
    reader, faults = section({"n": value})
    assert reader.integer("n", 7) == 7
    assert word in str(faults.errors[0])


def test_an_integer_out_of_range_names_the_range() -> None:
    reader, faults = section({"vlan": 4095})
    reader.integer("vlan", maximum=4094)
    assert "it must be from 0 to 4094" in str(faults.errors[0])


@given(documents)
def test_no_document_makes_the_reader_raise(value: object) -> None:
    reader, _ = section(value)
    reader.text("a")
    reader.integer("b")
    reader.boolean("c")
    reader.choice("d", ("x",))
    reader.parsed_list("e", parse_network)
    for item in reader.sections("f"):
        item.finish()
    reader.finish()


def test_a_word_near_none_gets_the_list() -> None:
    assert nearest("zzz", ("mtu", "vlan")) == "known: mtu, vlan"
    assert nearest("VLan", ("mtu", "vlan")) == "did you mean 'vlan'?"


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_address, "10.1.1"),
        (parse_interface, "10.1.1.2"),
        (parse_interface, "x/8"),
        (parse_network, "10.1.1.1/24"),
    ],
)
def test_addresses_of_the_wrong_shape_are_refused(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(InputError, match=text):
        parse(text)


def test_keys_of_the_authors_own_choice_can_be_listed() -> None:
    reader, _ = section({"a": 1, 5: 2})
    assert reader.keys() == ("a", "5")


def test_a_key_asks_for_something_unless_it_is_empty_or_false() -> None:
    reader, _ = section({"a": True, "b": ["x"], "c": False, "d": [], "e": None, "f": ""})
    assert [key for key in "abcdefg" if reader.asks_for(key)] == ["a", "b"]
