"""reStructuredText as graders write it -> Markdown. What is not known stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from assay.grading.inginious.hypertext import destination, from_html, image, quoted
from assay.grading.inginious.rules import moment
from assay.grading.inginious.tables import from_csv

_DIRECTIVE: Final = re.compile(r"^(\s*)\.\. ([a-z-]+):: ?(.*)$")
_CODE: Final = ("code-block", "code", "sourcecode", "parsed-literal")
_BOXES: Final = (
    "admonition", "note", "error", "warning", "danger", "tip", "hint", "important", "attention",
    "caution",
)  # fmt: skip
_IMAGES: Final = ("image", "figure")
_MARKED: Final = re.compile(
    r"``(?P<literal>.+?)``|`(?P<words>[^`<]+)<(?P<address>[^`>]+)>`__?"
    r"|(?::[a-z]+:)?`(?P<quoted>[^`]+)`_{0,2}"
    r"|(?<![\w-])(?P<name>[A-Za-z0-9][\w.-]{0,60}?)_(?![\w-])"
)
_NAMED: Final = re.compile(r"\s*\.\. _([^:`]+?|`[^`]+`) ?: (\S+)\s*$")
_SPECIAL: Final = frozenset("`\\<]")
_BEGINS_TAG: Final = re.compile(r"<(?=[A-Za-z/!?])")
_ENDS_CODE: Final = re.compile(r"(?<!\\)(\\*)`")
_LAST: Final = re.compile(r"(?<!\\)\\+$")
_DEPTH_MOST: Final = 20
"""Of boxes in boxes: what is in more of them stays as it is."""
_OPTION: Final = re.compile(r"\s+:([\w-]+):(.*)")
_LINES_MOST: Final = 100_000
_LINE_MOST: Final = 10_000
"""Characters. Nobody reads longer texts and lines, and they stay as they are: a pattern keeps all
of the server from running while it looks at one line.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What holds for all of a text."""

    now: datetime | None
    addresses: Mapping[str, str]
    """That have a name, to which texts refer, in small letters."""


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
    if text.count("\n") > _LINES_MOST:
        return _words(text)
    lines, addresses = [], {}
    for line in map(_expanded, text.splitlines()):
        named = None if len(line) > _LINE_MOST else _NAMED.match(line)
        if named:
            addresses[named[1].strip("`").lower()] = named[2]
        else:
            lines.append(line)
    return "\n".join(_blocks(lines, _Known(now=now, addresses=addresses)))


def _expanded(line: str) -> str:
    return line if len(line) > _LINE_MOST else line.expandtabs(4)


def _blocks(lines: list[str], known: _Known, depth: int = _DEPTH_MOST) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        found = _DIRECTIVE.match(line)
        literal = line.rstrip().endswith("::") and not found
        if found is None and not literal:
            yield _inline(line, known)
            at += 1
            continue
        inner, at = _further_in(lines, at + 1, len(line) - len(line.lstrip()))
        if not found:
            shown = line.rstrip()[:-2].rstrip()
            yield from (f"{_inline(shown, known)}:" if shown.strip() else "", "")
            yield from _fenced("", _without_margin(_body(inner)[1]))
        else:
            yield from _shown(_directive(found[2], found[3], inner), known, depth)


def _further_in(lines: list[str], at: int, indent: int) -> tuple[list[str], int]:
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
    options, begin = {}, 0
    while begin < len(inner):
        option = _OPTION.match(inner[begin])
        if inner[begin].strip() and option is None:
            break
        if option is not None:
            options[option[1]] = option[2].strip()
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
        yield from ("", _image(directive), "", *(_inline(each, known) for each in body))
    elif name in _BOXES and depth:
        inner = list(_blocks(body, known, depth - 1))
        head = _inline(title, known) if title else name.capitalize()
        yield from ("", f"> **{head.strip('*')}**", ">", *(f"> {each}" for each in inner), "")
    elif name == "raw":
        yield from ("", *from_html("\n".join(body)).splitlines(), "") if title == "html" else ()
    elif name == "csv-table":
        rows = from_csv(directive.options, body, lambda cell: _inline(cell, known))
        yield from (_inline(title, known), "", *rows, "")
    elif name == "hidden-until":
        yield from _in_time(directive, known, depth)
    elif name == "container" and depth:
        yield from ("", *_blocks(body, known, depth - 1), "")
    else:
        yield from (_inline(each, known) for each in (title, *body))


def _image(directive: _Directive) -> str:
    made = image(directive.title, directive.options.get("alt", ""))
    target = directive.options.get("target", "")
    return f"[{made}]({destination(target)})" if target else made


def _in_time(directive: _Directive, known: _Known, depth: int) -> Iterator[str]:
    """Times without a zone are this machine's; what is none stays hidden, and says so."""
    try:
        is_over = known.now is not None and moment(directive.title) <= known.now
    except (ValueError, OverflowError):
        is_over = False
    if is_over and depth:
        yield from ("", *_blocks(directive.body, known, depth - 1), "")
    else:
        yield from ("", f"> (Hidden until {_words(directive.title)})", "")


def _fenced(language: str, body: list[str]) -> Iterator[str]:
    ticks = (found for line in body for found in re.finditer("`+", line))
    longest = max((found.end() - found.start() for found in ticks), default=0)
    fence = "`" * max(3, longest + 1)
    yield from ("", f"{fence}{re.sub('[^A-Za-z0-9+#-]', '', language)}", *body, fence, "")


def _inline(line: str, known: _Known) -> str:
    """A line with what is marked in it; everything else are words, whatever they look like."""
    if len(line) > _LINE_MOST:
        return _words(line)
    made, at = [], 0
    for found in _MARKED.finditer(line):
        made += [_words(line[at : found.start()]), _marked(found, known)]
        at = found.end()
    shown = "".join((*made, _words(line[at:])))
    return f"\\{shown}" if shown.startswith("~~~") else shown


def _marked(found: re.Match[str], known: _Known) -> str:
    name = found["name"] or (found["quoted"] if found[0].endswith("_") else None)
    if name is not None and name.lower() in known.addresses:
        return f"[{_words(name)}]({destination(known.addresses[name.lower()])})"
    if found["name"]:
        return _words(found[0])
    if found["address"] is None:
        return quoted(found["literal"] or found["quoted"])
    # Spaces before "<" are no part of the pattern: what may be either text or space is tried in
    # every way there is.
    words = found["words"].rstrip() or found["words"][0]
    return f"[{_words(words)}]({destination(found['address'])})"


def _words(text: str) -> str:
    """Nothing in them is HTML, a link or code to Markdown, nor spoils what comes after them."""
    if not _SPECIAL.intersection(text):
        return text
    text = _ENDS_CODE.sub(r"\1\1\\`", text)
    text = _LAST.sub(r"\g<0>\g<0>", text)
    return _BEGINS_TAG.sub("&lt;", text).replace("](", "]\\(")
