"""Pieces of Markdown, of which none can become HTML, nor make something else of its neighbours.

That holds for every reader of Markdown: those with tables, which cut a row at each `|` before they
look for code in it, and those that let HTML through.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Final

# A backslash is one only before something that is escaped here, and where words end.
_ESCAPED: Final = re.compile(r"\\(?=[\\`\[\]|<&]|~~~|$)|[`\[\]|]|~(?=~~)", re.MULTILINE)
_BEGINS_CHARACTER: Final = re.compile(r"&(?=#?[A-Za-z0-9]+;)")
_BEGINS_TAG: Final = re.compile(r"<(?![\s\d=<-])")
_PIPES: Final = re.compile(r"(\|+)")
_TICKS: Final = re.compile("`+")
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f-\xa0]")
_SCHEME: Final = re.compile(r"([^/?#:]*):")
_SCHEMES: Final = ("http", "https", "mailto")
_IN_ADDRESSES: Final = str.maketrans(
    {
        "(": "%28", ")": "%29", "<": "%3C", ">": "%3E", "\\": "%5C", '"': "%22", "`": "%60",
        "|": "%7C",
    }
)  # fmt: skip
_APART: Final = ("``", "![")
"""An end and a beginning that would be one thing together."""
_MARKS: Final = "`[!\\"
"""What code, links and images begin with; code that begins with `|`, with a backslash."""
_BARE: Final = re.compile(r"(?:https?(?=:)|www(?=[.]))[^\s\\`\[\]|<]*", re.IGNORECASE)
_BEGINS_BARE: Final = re.compile(r"https?(?=:)|www(?=[.])", re.IGNORECASE)
_OTHER_BARE: Final = re.compile(r"(?:ftp|xmpp)(?=:)", re.IGNORECASE)


def words(text: str) -> str:
    """No HTML, link, code, fence or row of a table to Markdown; what it has of emphasis stays."""
    text = _ESCAPED.sub(r"\\\g<0>", text)
    return without_bare(_BEGINS_TAG.sub("&lt;", _BEGINS_CHARACTER.sub("&amp;", text)))


def without_bare(text: str) -> str:
    """Escaped words, without bare addresses that would take with them what escapes or marks.

    To many readers an address without marks goes on up to the next space.
    """
    return _OTHER_BARE.sub(r"\g<0>\\", _BARE.sub(_bare, text))


def _bare(found: re.Match[str]) -> str:
    after = found.string[found.end() : found.end() + 1]
    if not after or after.isspace():
        return found[0]
    return _BEGINS_BARE.sub(r"\g<0>\\", found[0])


def joined(pieces: Iterable[str]) -> str:
    """Of a line; those that would become one have a space between them."""
    made: list[str] = []
    bare = False
    for piece in filter(None, pieces):
        if made and (made[-1][-1] + piece[0] in _APART or (bare and piece[0] in _MARKS)):
            made.append(" ")
        made.append(piece)
        bare = _ends_bare(piece, bare=bare)
    return "".join(made)


def _ends_bare(piece: str, *, bare: bool) -> bool:
    """Whether an address without marks may go on after a piece."""
    if piece[-1].isspace() or piece.startswith(("`", "[", "![")):  # has its own end
        return False
    *before, last = piece.rsplit(None, 1)
    return bool(_BEGINS_BARE.search(last)) or (bare and not before and not piece[0].isspace())


def quoted(text: str) -> str:
    """Code within a line. Its `|` are between pieces of code: no row of a table has one in code."""
    return "".join(
        part.replace("|", "\\|") if part.startswith("|") else _span(part)
        for part in _PIPES.split(text)
        if part
    )


def _span(text: str) -> str:
    padded = f" {text} " if "`" in text or (text[0] == text[-1] == " " and text.strip()) else text
    marks = "`" * (_longest([text]) + 1)
    return f"{marks}{padded}{marks}"


def fenced(language: str, lines: Sequence[str]) -> list[str]:
    """The lines of code; no line of it ends it before its end."""
    fence = "`" * max(3, _longest(lines) + 1)
    return [f"{fence}{re.sub('[^A-Za-z0-9+#-]', '', language)}", *lines, fence]


def _longest(lines: Iterable[str]) -> int:
    return max((len(ticks) for line in lines for ticks in _TICKS.findall(line)), default=0)


def link(shown: str, address: str) -> str:
    """`shown`, which is Markdown, leads to an address, if it is one to which texts may lead."""
    to = destination(address)
    return f"[{shown}]({to})" if to else shown


def destination(address: str) -> str:
    """An address that ends where it is to end; empty unless of the web, of a mail, or relative."""
    address = _CONTROL.sub("", "".join(address.split()))
    # Whoever reads it twice must find nothing else.
    for each in (address, _CONTROL.sub("", html.unescape(address))):
        scheme = _SCHEME.match(each)
        if scheme and scheme[1].lower() not in _SCHEMES:
            return ""
    return _BEGINS_CHARACTER.sub("&amp;", address).translate(_IN_ADDRESSES)
