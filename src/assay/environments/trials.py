"""From the table [trials] of an environment to programs that are handed in for a trial."""

from __future__ import annotations

from typing import Final

from assay.environments import document
from assay.environments.model import Syntax, Trials
from assay.environments.strict import require

NAME, BYTES = "{name}", "{bytes}"
SWAPS: Final = (
    ("+", "-"), ("-", "+"), ("*", "/"), ("/", "*"), ("%", "*"),
    ("<", "<="), ("<=", "<"), (">", ">="), (">=", ">"),
    ("==", "!="), ("!=", "=="), ("===", "!=="), ("!==", "==="),
    ("&&", "||"), ("||", "&&"), ("++", "--"), ("--", "++"),
    ("+=", "-="), ("-=", "+="), ("*=", "+="), ("/=", "*="), ("%=", "*="),
)  # fmt: skip
"""Of languages that have their signs from C, as most do."""


def trials_of(text: document.Trials) -> Trials:
    """Make what is said into values. Raises Mistake."""
    require(
        not text.prints or BYTES in text.prints,
        "trials.prints",
        f"{BYTES} is not in it",
        "let it stand where the numbers of what is to be printed belong, with commas between",
    )
    return Trials(
        sums=text.sums,
        exits=text.exits,
        loops=text.loops,
        floods=text.floods,
        prints=text.prints,
        mutants=None if text.mutants is None else _syntax(text.mutants),
    )


def _syntax(text: document.Mutants) -> Syntax:
    swaps = SWAPS if text.swaps is None else tuple(text.swaps)
    for one, other in swaps:
        require(
            bool(one) and one != other,
            "trials.mutants.swaps",
            f"{one!r} for {other!r} is no change",
            'give pairs such as ["<", "<="]',
        )
    return Syntax(
        grammar=text.grammar,
        comments=tuple(_comment(each) for each in text.comments),
        quotes=tuple(text.quotes),
        swaps=swaps,
    )


def _comment(text: str) -> tuple[str, str]:
    """How it begins and ends; a blank at the beginning belongs to what begins it."""
    begins, _, ends = text[1:].partition(" ")
    require(bool(text.strip()), "trials.mutants.comments", f"{text!r} is none", 'such as "//"')
    return text[:1] + begins, ends


def program(template: str, *, name: str, text: bytes = b"") -> bytes:
    """The program for a file called `name` (without its ending), which prints `text` if it does."""
    numbers = ",".join(map(str, text))
    return template.replace(NAME, name).replace(BYTES, numbers).encode()
