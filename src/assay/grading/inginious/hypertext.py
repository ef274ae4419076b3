"""HTML, as teachers of INGInious put it into their texts -> Markdown, in which there is none left.

What stands for characters (`&lt;`) stays as it is, but in code: Markdown knows it, too.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from assay.grading.inginious.markdown import destination, fenced, joined, quoted, without_bare
from assay.grading.inginious.markdown import words as in_markdown

NO_ADDRESS: Final = "(an image)"
# After its name a tag has something else than letters, so that none is tried in many ways.
_TAG: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)((?:[^<>A-Za-z0-9][^<>]*)?)>")
_ATTRIBUTE: Final = re.compile(r"(?<![A-Za-z-])([A-Za-z-]+)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"']+)")
_CODE: Final = ("pre", "code", "tt")
_UNSEEN: Final = ("script", "style", "svg", "template")
_BLOCKS: Final = frozenset(
    {
        "p", "div", "ul", "ol", "table", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "center",
        "blockquote", "section", "figure",
    }
)  # fmt: skip
_MARKS: Final[Mapping[str, str]] = {"b": "**", "strong": "**", "em": "*", "i": "*"}
_SPACE: Final = re.compile(r"\s+")
_IN_WORDS: Final = str.maketrans(
    {"<": "&lt;", **{each: f"\\{each}" for each in ("*", "`", "\\", "[", "]", "|", "~")}}
)
_WORDS_MOST: Final = 200


def image(address: str, words: str = "") -> str:
    """An image as Markdown has it; without words it is called as its file is."""
    address = "".join(address.split())
    to = destination(address)
    if not to:
        return NO_ADDRESS
    words = " ".join((words or address.rpartition("/")[2]).split())[:_WORDS_MOST]
    return f"![{in_markdown(words)}]({to})"


def has_script(text: str) -> bool:
    """Whether somebody's browser would have had to run something."""
    return "<script" in text.lower()


def from_html(text: str) -> str:
    """Paragraphs, lists, code, links, images and emphasis; of everything else only the words."""
    made = _Made()
    for closing, tag, attributes, words in _pieces(text):
        made.tag(tag, attributes, closing=closing)
        made.words(words)
    return _tidied(made.whole())


class _Made:
    """What was made so far; words are kept apart until something else comes, or code ends."""

    def __init__(self) -> None:
        self._made: list[str] = []
        self._said: list[str] = []
        self._code: list[str] = []
        self._in = ""
        self._links: list[str] = []

    def tag(self, tag: str, attributes: str, *, closing: bool) -> None:
        if self._in:
            if closing and tag == self._in:
                self._add(self._ended())
        elif tag in _CODE:
            self._in = "" if closing else tag
        elif tag == "a":
            self._add(self._link(attributes, closing=closing))
        else:
            self._add(_shown(tag, attributes, closing=closing))

    def words(self, words: str) -> None:
        if self._in:
            self._code.append(html.unescape(words))
        else:
            self._said.append(_SPACE.sub(" ", words).translate(_IN_WORDS))

    def whole(self) -> str:
        self._add(self._ended() if self._in else "")
        return joined((*self._made, without_bare("".join(self._said))))

    def _add(self, piece: str) -> None:
        if piece:
            self._made += [without_bare("".join(self._said)), piece]
            self._said = []

    def _ended(self) -> str:
        text, in_lines = "".join(self._code), self._in == "pre"
        self._code, self._in = [], ""
        return _in_lines(text) if in_lines else quoted(" ".join(text.split()))

    def _link(self, attributes: str, *, closing: bool) -> str:
        if not closing:
            self._links.append(destination(_attribute(attributes, "href")))
            return "[" if self._links[-1] else ""
        address = self._links.pop() if self._links else ""
        return f"]({address})" if address else ""


def _pieces(text: str) -> Iterator[tuple[bool, str, str, str]]:
    """Whether a tag ends something, its name and attributes, and the words up to the next one."""
    words, *rest = _TAG.split(_without_comments(text))
    yield False, "", "", words
    unseen = ""
    for slash, name, attributes, words in zip(*(rest[at::4] for at in range(4)), strict=True):
        tag = name.lower()
        if unseen:
            if slash and tag == unseen:
                unseen = ""
                yield False, "", "", words
        elif tag in _UNSEEN and not slash and not attributes.endswith("/"):
            unseen = tag
            yield False, tag, "", ""
        else:
            yield bool(slash), tag, attributes, words


def _without_comments(text: str) -> str:
    first, *rest = text.split("<!--")
    return first + "".join(each.partition("-->")[2] for each in rest)


def _in_lines(text: str) -> str:
    return "\n".join(("", "", *fenced("", [text.strip("\n")]), "", ""))


_SHOWN: Final[Mapping[str, Callable[[str], str]]] = {
    "br": lambda _: "\n",
    "hr": lambda _: "\n\n---\n\n",
    "img": lambda attributes: image(_attribute(attributes, "src"), _attribute(attributes, "alt")),
    "svg": lambda _: NO_ADDRESS,
}


def _shown(tag: str, attributes: str, *, closing: bool) -> str:
    if tag in _MARKS:
        return _MARKS[tag]
    if tag in _BLOCKS:
        return "\n\n"
    if tag == "li":
        return "" if closing else "\n- "
    if tag in ("td", "th"):
        return " " if closing else ""
    return "" if closing or tag not in _SHOWN else _SHOWN[tag](attributes)


def _attribute(attributes: str, name: str) -> str:
    for found in _ATTRIBUTE.finditer(attributes):
        if found[1].lower() == name:
            return html.unescape(found[2].strip("\"'"))
    return ""


def _tidied(text: str) -> str:
    """No spaces where lines end or begin (but in code), and no more than one empty line."""
    kept: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = re.fullmatch("```+", line)
        if mark and not fence:
            fence = mark[0]
        elif fence and line == fence:
            fence = ""
        line = line if fence or mark else line.strip(" ")
        if line or fence or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip("\n")
