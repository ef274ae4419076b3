"""Documents in TOML, read strictly: nothing in them is ignored or guessed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Mistake(Exception):
    """What is wrong with a document: at which key, and how to write it instead."""

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(key, problem, remedy)
        self.key, self.problem, self.remedy = key, problem, remedy

    def __str__(self) -> str:
        return f"{self.key and f'{self.key}: '}{self.problem}; {self.remedy}"


def require(holds: bool, key: str, problem: str, remedy: str) -> None:
    """Raise Mistake unless it holds."""
    if not holds:
        raise Mistake(key, problem, remedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape(Generic[T]):
    """What a document has to look like."""

    type: type[T]
    keys: Mapping[str, Collection[str]]
    """Of each table, by its own key ("" for the whole)."""
    hints: Mapping[str, str]
    """How to write the keys that are not plain numbers and texts."""
    manual: str
    """Where all of it is explained."""

    def decode(self, content: bytes) -> T:
        """Read a document of this shape. Raises Mistake."""
        try:
            return msgspec.toml.decode(content, type=self.type)
        except msgspec.ValidationError as error:
            raise self._explained(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Mistake(
                "", f"this is not TOML: {error}", "https://toml.io shows how it is"
            ) from error

    def _explained(self, message: str) -> Mistake:
        """A Mistake of msgspec's "Expected `int`, got `str` - at `$.run.argv`"."""
        problem, _, path = message.partition(" - at ")
        key = path.strip("`").removeprefix("$").lstrip(".").replace("[...]", "")
        if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem):
            known = self.keys[re.sub(r"\[\d+\]", "", key)]
            return Mistake(
                f"{key}.{unknown[1]}".lstrip("."),
                "there is no such key",
                f"keys: {', '.join(known)}",
            )
        if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
            key, problem = f"{key}.{missing[1]}".lstrip("."), "this key is missing"
        last = re.sub(r"\[\d+\]", "", key).rpartition(".")[2]
        problem = re.sub(r"Expected `str` matching regex .*", "this has the wrong form", problem)
        remedy = f"write {self.hints[last]}" if last in self.hints else f"see {self.manual}"
        return Mistake(key, problem[0].lower() + problem[1:].replace("`", ""), remedy)
