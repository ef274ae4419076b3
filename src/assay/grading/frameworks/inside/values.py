"""Plain values as JSON. What comes from a learner's process builds plain values and nothing else.

Numbers, texts, True, False and None are themselves, and so are lists; an object with one key is
another type of Python's: {"t": […]} a tuple, {"s": […]} a set, {"f": […]} a frozenset,
{"d": [[key, value], …]} a dict, {"b": base64} bytes, {"a": base64} a bytearray, {"c": [re, im]} a
complex number, {"i": hexadecimal} a large int. With the key "o" it is something that stays where
it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

MESSAGE_MOST = 1 << 20
"""Bytes of one message."""
DEPTH_MOST = 60
_PLAIN_INT = 2**53
_LONGEST_INT = 20
"""Digits of a plain one: int() takes more than linear time for more."""

Opaque = Callable[[Any], dict[str, Any]]
Known = Callable[[dict[str, Any]], Any]


class Unfit(Exception):
    """A value that can't be carried, or bytes that are none."""


def dumps(message: Any) -> bytes:
    """A message. Raises Unfit when it is too long."""
    try:
        text = json.dumps(message, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise Unfit(f"this can't be carried: {error}") from None
    if len(text) > MESSAGE_MOST:
        raise Unfit(
            f"the values have {len(text):,} bytes, and at most {MESSAGE_MOST:,} are carried"
        )
    return text


def loads(text: bytes) -> Any:
    """A message of hostile bytes. Raises Unfit."""
    if len(text) > MESSAGE_MOST:
        raise Unfit("a message is too long")
    try:
        return json.loads(text.decode("ascii"), parse_int=_int)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"a message is no JSON: {type(error).__name__}") from None


def _int(digits: str) -> int:
    if len(digits) > _LONGEST_INT:
        raise ValueError("a long number")
    return int(digits)


def encode(value: Any, opaque: Opaque, depth: int = 0) -> Any:
    """A value as JSON has it; `opaque` describes what is no plain value. Raises Unfit.

    An instance of a class derived from a plain one is what that one would be, and no more.
    """
    if depth > DEPTH_MOST:
        raise Unfit(f"values are nested more than {DEPTH_MOST} deep")
    if value is None or value is True or value is False:
        return value
    for kind, encoder in _ENCODERS:
        if isinstance(value, kind):
            return encoder(value, lambda inner: encode(inner, opaque, depth + 1))
    return opaque(value)


Inner = Callable[[Any], Any]


def _encode_int(value: int, inner: Inner) -> Any:
    number = int.__index__(value)
    return int(number) if -_PLAIN_INT < number < _PLAIN_INT else {"i": format(int(number), "x")}


def _encode_dict(value: dict[Any, Any], inner: Inner) -> Any:
    return {
        "d": [[inner(key), inner(dict.__getitem__(value, key))] for key in dict.__iter__(value)]
    }


_ENCODERS: Any = (
    (int, _encode_int),
    (float, lambda value, inner: float.__float__(value)),
    (str, lambda value, inner: str.__str__(value)),
    (list, lambda value, inner: [inner(each) for each in list.__iter__(value)]),
    (tuple, lambda value, inner: {"t": [inner(each) for each in tuple.__iter__(value)]}),
    (dict, _encode_dict),
    (set, lambda value, inner: {"s": [inner(each) for each in set.__iter__(value)]}),
    (frozenset, lambda value, inner: {"f": [inner(each) for each in frozenset.__iter__(value)]}),
    (bytearray, lambda value, inner: {"a": base64.b64encode(value).decode()}),
    (bytes, lambda value, inner: {"b": base64.b64encode(value).decode()}),
    (complex, lambda value, inner: {"c": [value.real, value.imag]}),
)


def decode(data: Any, known: Known, depth: int = 0) -> Any:
    """The value of hostile JSON; `known` finds what an object with "o" stands for. Raises Unfit."""
    if depth > DEPTH_MOST:
        raise Unfit(f"values are nested more than {DEPTH_MOST} deep")
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    if isinstance(data, list):
        return [decode(each, known, depth + 1) for each in data]
    if not isinstance(data, dict):
        raise Unfit("this is no value")
    if "o" in data:
        return known(data)
    if len(data) != 1:
        raise Unfit("this is no value")
    ((kind, content),) = data.items()
    if kind not in _DECODERS:
        raise Unfit("this is no value")
    try:
        return _DECODERS[kind](content, lambda inner: decode(inner, known, depth + 1))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Unfit(f"this is no value: {type(error).__name__}") from None


def _listed(content: Any) -> Any:
    if not isinstance(content, list):
        raise Unfit("this is no list")
    return content


def _decode_int(content: Any, inner: Inner) -> int:
    if not isinstance(content, str):
        raise Unfit("this is no number")
    return int(content, 16)


_DECODERS: Any = {
    "i": _decode_int,
    "t": lambda content, inner: tuple(inner(each) for each in _listed(content)),
    "s": lambda content, inner: {_hashable(inner(each)) for each in _listed(content)},
    "f": lambda content, inner: frozenset(_hashable(inner(each)) for each in _listed(content)),
    "d": lambda content, inner: {
        _hashable(inner(key)): inner(value) for key, value in _listed(content)
    },
    "a": lambda content, inner: bytearray(base64.b64decode(content, validate=True)),
    "b": lambda content, inner: base64.b64decode(content, validate=True),
    "c": lambda content, inner: complex(*(float(each) for each in _listed(content))),
}


def _hashable(value: Any) -> Any:
    hash(value)
    return value
