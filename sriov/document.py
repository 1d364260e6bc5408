"""Read what people wrote: a mapping in, checked values out, every fault named at once.

A `Section` is a cursor on one mapping of a YAML or JSON document. Each reader returns the value, or a default after it
noted what is wrong; `Section.finish` notes the keys nobody asked for, with the nearest known one. The document's owner
calls `Faults.raise_if_any` once, so that an author corrects all faults in one go. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TypeVar

from sriov.errors import DocumentError, InputError

T = TypeVar("T")

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


class Faults:
    """The faults found so far in one document."""

    def __init__(self) -> None:
        self.errors: list[InputError] = []

    def add(self, subject: str, what: str, *, hint: str = "") -> None:
        """Note one fault."""
        self.errors.append(InputError(subject, what, hint=hint))

    def raise_if_any(self) -> None:
        """Raise what was found.

        Raises:
            InputError: there was a fault; its text has one line for each.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise DocumentError(self.errors)


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "a boolean", int: "an integer", float: "a number"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


class Section:
    """One mapping of the document, and where in the document it stands.

    Args:
        value: what was found there; anything but a mapping is a fault.
        path: the place as its author would name it (``policy.yaml: policies[0]``).
        faults: where faults are noted.
    """

    def __init__(self, value: object, *, path: str, faults: Faults) -> None:
        self.path = path
        self.faults = faults
        self._known: list[str] = []
        self._values: Mapping[object, object] = value if isinstance(value, Mapping) else {}
        if not isinstance(value, Mapping):
            faults.add(path, f"is {_kind(value)}, must be a mapping")

    def _take(self, key: str) -> object:
        self._known.append(key)
        return self._values.get(key)

    def at(self, key: str) -> str:
        """Name the place of `key`, for an error's subject."""
        separator = " " if self.path.endswith(":") else "."
        return f"{self.path}{separator}{key}" if self.path else key

    def has(self, key: str) -> bool:
        """Tell whether the author gave `key` a value."""
        return self._values.get(key) is not None

    def asks_for(self, key: str) -> bool:
        """Tell whether `key` has a value that asks for something: not nothing, not false, not empty."""
        return bool(self._values.get(key))

    def _typed(self, key: str, kind: type[T], default: T | None, word: str) -> T | None:
        value = self._take(key)
        if value is None:
            return default
        # bool is a subclass of int, and `numVfs: yes` is not a number.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            quoted = kind is int and isinstance(value, str) and value.isascii() and value.isdigit()
            hint = f"write it without quotes: {value}" if quoted else ""
            self.faults.add(self.at(key), f"{value!r} is {_kind(value)}, must be {word}", hint=hint)
            return default
        return value

    def text(self, key: str, default: str | None = None) -> str | None:
        """Read a text."""
        return self._typed(key, str, default, "a text (quote it if it looks like a number)")

    def boolean(self, key: str, *, default: bool = False) -> bool:
        """Read true or false."""
        value = self._typed(key, bool, default, "true or false")
        return default if value is None else value

    def integer(
        self, key: str, default: int | None = None, *, minimum: int = 0, maximum: int | None = None
    ) -> int | None:
        """Read an integer from `minimum` to `maximum`, both included."""
        value = self._typed(key, int, default, "an integer")
        if value is None or value is default:
            return value
        if value < minimum or (maximum is not None and value > maximum):
            bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
            self.faults.add(self.at(key), f"{value} is out of range", hint=f"it must be {bounds}")
            return default
        return value

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str | None:
        """Read one of a few words."""
        value = self.text(key, default)
        if value is None or value in choices:
            return value
        self.faults.add(self.at(key), f"{value!r} is not one of {', '.join(choices)}", hint=nearest(value, choices))
        return default

    def parsed(self, key: str, parse: Callable[[str], T]) -> T | None:
        """Read a text and let `parse` (which may raise `InputError` or `ValueError`) make a value of it."""
        value = self.text(key)
        return None if value is None else self._parse(self.at(key), value, parse)

    def parsed_list(self, key: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        """Read a list of texts, each parsed."""
        found: list[T] = []
        for index, value in enumerate(self._list(key)):
            place = f"{self.at(key)}[{index}]"
            if not isinstance(value, str):
                self.faults.add(place, f"{value!r} is {_kind(value)}, must be a text")
                continue
            item = self._parse(place, value, parse)
            if item is not None:
                found.append(item)
        return tuple(found)

    def _parse(self, place: str, value: str, parse: Callable[[str], T]) -> T | None:
        try:
            return parse(value)
        except InputError as error:
            self.faults.add(place, error.what, hint=error.hint)
        except ValueError as error:
            self.faults.add(place, str(error))
        return None

    def _list(self, key: str) -> Sequence[object]:
        value = self._typed(key, list, None, "a list")
        return value or []

    def sections(self, key: str) -> tuple[Section, ...]:
        """Read a list of mappings."""
        return tuple(
            Section(value, path=f"{self.at(key)}[{index}]", faults=self.faults)
            for index, value in enumerate(self._list(key))
        )

    def section(self, key: str) -> Section | None:
        """Read a mapping; None when the author gave none."""
        value = self._take(key)
        return None if value is None else Section(value, path=self.at(key), faults=self.faults)

    def required(self, key: str, value: T | None, *, hint: str = "") -> T | None:
        """Note a fault when the author left `key` out. Returns `value`."""
        if not self.has(key):
            self.faults.add(self.at(key), "is missing", hint=hint)
        return value

    def keys(self) -> tuple[str, ...]:
        """Name the keys the author gave, for a mapping whose keys are names of their own choice."""
        return tuple(str(key) for key in self._values)

    def ignore(self, *keys: str) -> None:
        """Accept `keys` without reading them."""
        self._known.extend(keys)

    def finish(self) -> None:
        """Note every key that no reader asked for."""
        for key in self._values:
            if key not in self._known:
                self.faults.add(self.at(str(key)), "is not a known key", hint=nearest(str(key), self._known))


def nearest(word: str, known: Sequence[str]) -> str:
    """Say which of the `known` words `word` may have been meant to be; else list them."""
    import difflib  # by whoever has made a mistake only

    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(lower), n=1)
    return f"did you mean {lower[close[0]]!r}?" if close else f"known: {', '.join(sorted(known))}"


def parse_address(text: str) -> Address:
    """Read ``10.1.1.2`` or ``fd00::2``.

    Raises:
        InputError: `text` is anything else.
    """
    try:
        return ip_address(text)
    except ValueError:
        raise InputError("address", f"{text!r} is not an IP address") from None


def parse_interface(text: str) -> Interface:
    """Read an address with its prefix length, ``10.1.1.2/32``.

    Raises:
        InputError: `text` is anything else, or has no prefix length.
    """
    try:
        if "/" in text:
            return ip_interface(text)
    except ValueError:
        pass
    raise InputError("address", f"{text!r} is not an IP address with a prefix length", hint="write it as 10.1.1.2/32")


def parse_network(text: str) -> Network:
    """Read ``10.1.1.0/24``.

    Raises:
        InputError: `text` is anything else, or has bits set behind its prefix.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise InputError("network", f"{text!r} is not an IP network", hint=str(error)) from None
