"""How sources keep linters from saying something, in ways that linters can't be told to ignore.

Functions of a text, which is a stranger's: each takes time in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

MOST: Final = 500
"""Places in a file that are looked for: nobody reads more of them."""

# What Python, gcc and shellcheck take for the end of a line, and nothing else: str.splitlines cuts
# comments at a form feed, too.
_ENDS: Final = re.compile(r"\r\n?+")


def lines_of(text: str) -> list[str]:
    """Without their ends."""
    return _ENDS.sub("\n", text).split("\n")


# --- Python --------------------------------------------------------------------------------------

# Of several actions in a comment any one may be the one: enable=a disable=b.
_PYLINT: Final = re.compile(r"^[^#]*+#(?>.*?\bpylint\s*+:).*?(?:disable|skip-file)")
_CODING: Final = re.compile(r"^[ \t\f]*+#.*?coding[:=][ \t]*+([-\w.]++)", re.ASCII)
# In each of these a # is the byte that it is here.
_PLAIN: Final = re.compile(
    r"(?:utf-?8|latin-?1|iso-?(?:8859|latin)-?\d+)(?:-.*)?|(?:us-?)?ascii|(?:cp|windows-?)125\d"
)


def for_pylint(text: str) -> Iterator[int]:
    """Numbers of lines."""
    for number, line in enumerate(lines_of(text), 1):
        if _PYLINT.search(line) or (number <= 2 and _recoded(line)):
            yield number


def _recoded(line: str) -> bool:
    """Whether the file is to be read in an encoding that shows comments we can't see."""
    coding = _CODING.search(line)
    return coding is not None and not _PLAIN.fullmatch(coding[1].lower().replace("_", "-"))


# --- shells --------------------------------------------------------------------------------------

_SHELLCHECK: Final = re.compile(r"^(?>.*?#\s*shellcheck\s).*disable")


def for_shellcheck(text: str) -> Iterator[int]:
    """Numbers of lines."""
    for number, line in enumerate(lines_of(text), 1):
        if _SHELLCHECK.search(line):
            yield number


# --- C and C++ -----------------------------------------------------------------------------------

# A line begins with a directive, but for comments. Where comments begin and end takes a compiler to
# say: a text, the name of a header or a // may have a /* in it. So a comment before its words are
# complete counts as the words: nobody writes #pragma/**/GCC but to hide it.
_DIRECTIVE: Final = re.compile(
    r"""
    (?:^|\*/)[^\S\n]*+(?P<at>\#|%:|\?\?=)[^\S\n]*+
    (?:
        /\*
      | pragma[^\S\n]*+(?:/\*|GCC[^\S\n]*+(?:/\*|(?:diagnostic|system_header)\b))
      | line\b
      | \d++[^\S\n]*+(?:/\*|"|$)  # "# 1 Introduction" is for people
    )
    """,
    re.VERBOSE | re.MULTILINE,
)
# What ## makes of pieces has a text or an argument yet.
_OPERATOR: Final = re.compile(r"(?P<at>\b_Pragma\b|[\"(]\s*+GCC\s++(?:diagnostic|system_header)\b)")
_CONTINUED: Final = re.compile(r"\\[ \t\f\v]*+\n")


def for_gcc(text: str) -> Iterable[int]:
    """Numbers of lines, in order; of lines that are continued, the first one's."""
    text = _ENDS.sub("\n", text.removeprefix("\ufeff")).replace("\0", " ")
    # Whether trigraphs are read depends on the standard of C. In a comment they hide what is next.
    found = {*_in_c(text), *(_in_c(text.replace("??/", "\\")) if "??/" in text else ())}
    return sorted(found)


def _in_c(text: str) -> Iterator[int]:
    joined = _joined(text)
    for pattern in (_DIRECTIVE, _OPERATOR):
        line, counted = 1, 0
        for match in islice(pattern.finditer(joined), MOST):
            line += joined.count("\n", counted, match.start("at"))
            counted = match.start("at")
            yield line


def _joined(text: str) -> str:
    """Continued lines are one; as many empty ones come after it, for others to keep their place."""
    first, *rest = _CONTINUED.split(text)
    pieces, owed = [first], 0
    for piece in rest:
        owed += 1
        before, end, after = piece.partition("\n")
        pieces.append(before)
        if end:
            pieces += ("\n" * (owed + 1), after)
            owed = 0
    return "".join(pieces)
