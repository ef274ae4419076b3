"""reStructuredText as graders write it -> Markdown. What is not known stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from assay.grading.inginious.hypertext import from_html, image
from assay.grading.inginious.markdown import fenced, joined, link, quoted, words
from assay.grading.inginious.rules import moment
from assay.grading.inginious.tables import from_csv

_DIRECTIVE: Final = re.compile(r"\s*\.\. +([A-Za-z-]+) ?:: *(.*)$")
_HIDDEN: Final = "hidden-until"
_HIDES: Final = re.compile(rf"\.\.\s+(?:\|[^|]*\|\s+)?{_HIDDEN}\s?::(?P<until>.*)$", re.IGNORECASE)
"""Wherever it is in a line: behind the mark of a list, the name of a field, in a cell."""
_NOTICE: Final = "(Hidden)"
_CODE: Final = ("code-block", "code", "sourcecode", "parsed-literal")
_VERBATIM: Final = frozenset({*_CODE, "math", "raw", "csv-table"})
_BOXES: Final = (
    "admonition", "note", "error", "warning", "danger", "tip", "hint", "important", "attention",
    "caution",
)  # fmt: skip
_IMAGES: Final = ("image", "figure")
_MARKED: Final = re.compile(
    r"``(?P<literal>.+?)``|`(?P<words>[^`<]+)<(?P<address>[^`>]+)>`__?"
    r"|(?::[a-z]+:)?`(?P<quoted>[^`]+)`_{0,2}"
    r"|\|(?P<replaced>[^|`\s](?:[^|`]{0,60}[^|`\s])?)\|_{0,2}"
    r"|(?<![\w-])(?P<name>[A-Za-z0-9][\w.-]{0,60}?)_(?![\w-])"
)
_NAMED: Final = re.compile(r"\s*\.\. _([^:`]+?|`[^`]+`) ?: (\S+)\s*$")
_REPLACED: Final = re.compile(r"\s*\.\. \|([^|]+)\| +replace ?:: *(\S.*)$", re.IGNORECASE)
_COMMENT: Final = re.compile(r"\s*\.\.(?: +(?![ \[|]|[\w:.+-]{1,60} ?::(?:\s|$))|$)")
"""No footnote, words for others, or directive, known or not; names of addresses come before."""
_ITEM: Final = re.compile(r"(\s*(?:[-*+]|\d{1,9}[.)]|#\.) +)(\.\. .*)$")
"""A list's mark, and behind it what is no paragraph."""
_DEPTH_MOST: Final = 20
"""Of boxes in boxes: of what is in more of them only lines are read."""
_OPTION: Final = re.compile(r"\s+:([\w-]+):(.*)")
_REFERRED_MOST: Final = 1 << 20
"""Characters of what has a name, in all: a short name can stand for a long address very often."""
_LINES_MOST: Final = 100_000
_LINE_MOST: Final = 10_000
"""Characters. Nobody reads longer texts and lines, and they stay as they are: a pattern keeps all
of the server from running while it looks at one line.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Named:
    """What texts refer to, by names in small letters."""

    addresses: dict[str, str] = field(default_factory=dict)
    replacements: dict[str, str] = field(default_factory=dict)
    """Words for others: `|name|`."""


class _Allowance:
    """What may still be said by names."""

    def __init__(self) -> None:
        self._left = _REFERRED_MOST

    def takes(self, text: str) -> bool:
        """Whether it is enough for one more; then it is less by that."""
        if len(text) > self._left:
            return False
        self._left -= len(text)
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What holds for all of a text."""

    now: datetime | None
    addresses: Mapping[str, str]
    replacements: Mapping[str, str]
    allowance: _Allowance


@dataclass(frozen=True, kw_only=True, slots=True)
class _Directive:
    """Something that is more than a paragraph."""

    name: str
    title: str
    options: Mapping[str, str]
    body: list[str]


def to_markdown(text: str, now: datetime | None = None) -> str:
    """Code, boxes, images, links and literals, and HTML without its tags.

    What is to be hidden until later than `now` is left out; all of it where that is not known.
    """
    lines = text.splitlines()
    if len(lines) > _LINES_MOST:
        return _NOTICE if _may_hide(text) else words(text)
    lines = [_expanded(line) for line in lines]
    named = _names(lines, now)
    known = _Known(
        now=now, addresses=named.addresses, replacements=named.replacements, allowance=_Allowance()
    )
    return "\n".join(_blocks(lines, known))


def _names(lines: list[str], now: datetime | None) -> _Named:
    """What has a name and is shown; the first one of a name, as others may come from learners."""
    found = _Named()
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        item = _ITEM.match(line)
        if _keeps_names_back(item[2] if item else line, now):
            _, at = _further_in(lines, at, line)
        elif named := _named(line):
            found.addresses.setdefault(named[1].strip("`").lower(), named[2])
        elif replaced := _replaced(line):
            found.replacements.setdefault(replaced[1].strip().lower(), replaced[2].strip())
        elif _is_comment(line):
            at = _after_comment(lines, at, line)
    return found


def _keeps_names_back(line: str, now: datetime | None) -> bool:
    if hides := _hides(line):
        return not _is_over(hides["until"], now)
    found = _DIRECTIVE.match(line)
    return found[1].lower() in _VERBATIM if found else _is_literal(line)


def _named(line: str) -> re.Match[str] | None:
    return None if len(line) > _LINE_MOST else _NAMED.match(line)


def _replaced(line: str) -> re.Match[str] | None:
    return None if len(line) > _LINE_MOST else _REPLACED.match(line)


def _is_comment(line: str) -> bool:
    return bool(_COMMENT.match(line))


def _expanded(line: str) -> str:
    return line if len(line) > _LINE_MOST else line.expandtabs(4)


def _may_hide(text: str) -> bool:
    return _HIDDEN in text.lower()


def _hides(line: str) -> re.Match[str] | None:
    return _HIDES.search(line) if _may_hide(line) else None


def _is_literal(line: str) -> bool:
    return line.rstrip().endswith("::")


def _blocks(lines: list[str], known: _Known, depth: int = _DEPTH_MOST) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        hides, found, item = _hides(line), _DIRECTIVE.match(line), _ITEM.match(line)
        if not (hides or found) and (end := _unseen(lines, at, line)) is not None:
            at = end
            continue
        if not (hides or found or item or _is_literal(line)):
            yield _inline(line, known)
            continue
        inner, at = _further_in(lines, at, line)
        if hides:
            yield from _in_time(hides, inner, known, depth)
        elif found:
            yield from _shown(_directive(found[1].lower(), found[2], inner), known, depth)
        elif item:
            yield from _item(item, inner, known, depth)
        else:
            yield from _literal(line, inner, known, depth)


def _unseen(lines: list[str], at: int, line: str) -> int | None:
    """Where it goes on after what nobody sees: names, words for others, comments."""
    if _named(line) or _replaced(line):
        return at
    return _after_comment(lines, at, line) if _is_comment(line) else None


def _item(item: re.Match[str], inner: list[str], known: _Known, depth: int) -> Iterator[str]:
    """What stands behind a list's mark, as far in as its words would be."""
    margin = " " * len(item[1])
    shown = list(_within([item[2], *(each.removeprefix(margin) for each in inner)], known, depth))
    while shown and not shown[0]:
        del shown[0]
    yield item[1] + (shown[0] if shown else "")
    yield from (f"{margin}{each}" if each else "" for each in shown[1:])


def _after_comment(lines: list[str], at: int, line: str) -> int:
    """What is below a comment and more indented is one, too; two dots alone are all of one."""
    is_bare = not line.strip(" .") and not (at < len(lines) and lines[at].strip())
    return at if is_bare else _further_in(lines, at, line)[1]


def _within(lines: list[str], known: _Known, depth: int) -> Iterator[str]:
    if depth:
        yield from _blocks(lines, known, depth - 1)
    elif any(map(_may_hide, lines)):
        yield _NOTICE
    else:
        yield from (_inline(line, known) for line in lines)


def _literal(line: str, inner: list[str], known: _Known, depth: int) -> Iterator[str]:
    """Code, unless something may be hidden in it: where it stands, that depends on much."""
    if any(map(_hides, inner)):
        yield from (_inline(line, known), *_within(inner, known, depth))
        return
    shown = line.rstrip()[:-2].rstrip()
    yield from (f"{_inline(shown, known)}:" if shown.strip() else "", "")
    begin = next((at for at, each in enumerate(inner) if each.strip()), 0)
    yield from _fenced("", _without_margin(inner[begin:]))


def _further_in(lines: list[str], at: int, line: str) -> tuple[list[str], int]:
    """What is below a line and more indented, and where it ends.

    In a table what begins in a cell goes on in lines that are not; then it is all that follows.
    """
    bare = line.lstrip()
    indent = -1 if bare.startswith("|") else len(line) - len(bare)
    end = at
    while end < len(lines) and (
        not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent
    ):
        end += 1
    inner = lines[at:end]
    while inner and not inner[-1].strip():
        inner.pop()
    return inner, end


def _directive(name: str, title: str, inner: list[str]) -> _Directive:
    """An address may go on for some lines before the options."""
    begin = 0
    if name in _IMAGES:
        while begin < len(inner) and inner[begin].strip() and not _OPTION.match(inner[begin]):
            begin += 1
        title = " ".join((title, *inner[:begin]))
    options, body = _body(inner[begin:])
    return _Directive(name=name, title=title.strip(), options=options, body=_without_margin(body))


def _body(inner: list[str]) -> tuple[dict[str, str], list[str]]:
    """Options end where an empty line is, and what looks like one below it is none."""
    options: dict[str, str] = {}
    begin = 0
    while begin < len(inner) and (option := _OPTION.match(inner[begin])):
        options[option[1]] = option[2].strip()
        begin += 1
    while begin < len(inner) and not inner[begin].strip():
        begin += 1
    return options, inner[begin:]


def _without_margin(body: list[str]) -> list[str]:
    margin = min((len(each) - len(each.lstrip()) for each in body if each.strip()), default=0)
    return [each[margin:] for each in body]


def _shown(directive: _Directive, known: _Known, depth: int) -> Iterator[str]:
    name, title, body = directive.name, directive.title, directive.body
    if name in _CODE:
        yield from _fenced(title, body)
    elif name == "math":
        yield from _fenced(name, [title, *body] if title else body)
    elif name in _IMAGES:
        yield from ("", _image(directive), "", *_within(body, known, depth))
    elif name in _BOXES:
        head = _inline(title, known) if title else name.capitalize()
        inner = (f"> {each}" for each in _within(body, known, depth))
        yield from ("", f"> **{head.strip('*')}**", ">", *inner, "")
    elif name == "raw":
        yield from ("", *from_html("\n".join(body)).splitlines(), "") if title == "html" else ()
    elif name == "csv-table":
        yield from (_inline(title, known), "", *_table(directive, known), "")
    elif name == "container":
        yield from ("", *_within(body, known, depth), "")
    else:
        yield from (_inline(title, known), *_within(body, known, depth))


def _table(directive: _Directive, known: _Known) -> list[str]:
    if any(map(_may_hide, (directive.options.get("header", ""), *directive.body))):
        return [_NOTICE]
    return from_csv(directive.options, directive.body, lambda cell: _inline(cell, known))


def _image(directive: _Directive) -> str:
    made = image(directive.title, directive.options.get("alt", ""))
    return link(made, directive.options.get("target", ""))


def _in_time(hides: re.Match[str], inner: list[str], known: _Known, depth: int) -> Iterator[str]:
    """Times without a zone are this machine's; what is none stays hidden, and says so."""
    before, until = hides.string[: hides.start()], hides["until"]
    if before.strip():
        yield _inline(before, known)
    if _is_over(until, known.now):
        yield from ("", *_within(_without_margin(inner), known, depth), "")
    else:
        yield from ("", f"> (Hidden until {words(until.strip())})", "")


def _is_over(until: str, now: datetime | None) -> bool:
    try:
        return now is not None and moment(until.strip()) <= now
    except (ValueError, OverflowError):
        return False


def _fenced(language: str, body: list[str]) -> Iterator[str]:
    yield from ("", *fenced(language, body), "")


def _inline(line: str, known: _Known) -> str:
    """A line with what is marked in it; everything else are words, whatever they look like."""
    if len(line) > _LINE_MOST:
        return words(line)
    made, at = [], 0
    for found in _MARKED.finditer(line):
        if found["name"] and found["name"].lower() not in known.addresses:
            continue
        if found["replaced"] and found["replaced"].lower() not in known.replacements:
            continue
        made += [words(line[at : found.start()]), _marked(found, known)]
        at = found.end()
    return joined((*made, words(line[at:])))


def _marked(found: re.Match[str], known: _Known) -> str:
    if found["replaced"]:
        return _for_other_words(found[0], found["replaced"], known)
    name = found["name"] or (found["quoted"] if found[0].endswith("_") else None)
    if name is not None and name.lower() in known.addresses:
        return _to_named(words(name), name, known)
    if found["address"] is None:
        return quoted(found["literal"] or found["quoted"])
    # Spaces before "<" are no part of the pattern: what may be either text or space is tried in
    # every way there is.
    return link(words(found["words"].rstrip() or found["words"][0]), found["address"])


def _to_named(shown: str, name: str, known: _Known) -> str:
    """A link to what has the name, while there may be more of them."""
    address = known.addresses.get(name.lower(), "")
    return link(shown, address) if known.allowance.takes(address) else shown


def _for_other_words(written: str, name: str, known: _Known) -> str:
    """`|name|`, and `|name|_`, which is a link as well."""
    other = known.replacements[name.lower()].strip("`")
    if not known.allowance.takes(other):
        return words(written)
    return _to_named(words(other), name, known) if written.endswith("_") else words(other)
