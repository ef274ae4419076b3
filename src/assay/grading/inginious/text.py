"""reStructuredText as graders write it -> Markdown. What is not known stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_DIRECTIVE: Final = re.compile(r"^(\s*)\.\. ([a-z-]+):: ?(.*)$")
_CODE: Final = ("code-block", "code", "sourcecode", "parsed-literal")
_BOXES: Final = (
    "admonition", "note", "error", "warning", "danger", "tip", "hint", "important", "attention",
    "caution",
)  # fmt: skip
_LINK: Final = re.compile(r"`([^`<]+)<([^`>]+)>`__?")
_DEPTH_MOST: Final = 20
"""Of boxes in boxes: what is in more of them stays as it is."""
_OPTION: Final = re.compile(r"\s+:[\w-]+:")
_LITERAL: Final = re.compile(r"``(.+?)``")
_ROLE: Final = re.compile(r":[a-z]+:`([^`]+)`")
_LINES_MOST: Final = 100_000
_LINE_MOST: Final = 10_000
"""Characters. Nobody reads longer texts and lines, and they stay as they are: a pattern keeps all
of the server from running while it looks at one line.
"""


def to_markdown(text: str) -> str:
    """Code, boxes, links and literals; images that are HTML are left out."""
    if text.count("\n") > _LINES_MOST:
        return text
    return "\n".join(_blocks([_expanded(line) for line in text.splitlines()]))


def _expanded(line: str) -> str:
    return line if len(line) > _LINE_MOST else line.expandtabs(4)


def _blocks(lines: list[str], depth: int = _DEPTH_MOST) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        found = _DIRECTIVE.match(line)
        literal = line.rstrip().endswith("::") and not found
        if found is None and not literal:
            yield _inline(line)
            at += 1
            continue
        indent = len(line) - len(line.lstrip())
        body, at = _body(lines, at + 1, indent)
        if not found:
            shown = line.rstrip()[:-2].rstrip()
            yield from (f"{_inline(shown)}:" if shown.strip() else "", "")
            yield from _fenced("", body)
        else:
            yield from _directive(found[2], found[3], body, depth)


def _body(lines: list[str], at: int, indent: int) -> tuple[list[str], int]:
    """The lines that are further in, without what they are further in by."""
    end = at
    while end < len(lines) and (
        not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent
    ):
        end += 1
    body = lines[at:end]
    while body and not body[-1].strip():
        body.pop()
    begin = 0
    while begin < len(body) and (not body[begin].strip() or _OPTION.match(body[begin])):
        begin += 1
    body = body[begin:]
    margin = min((len(each) - len(each.lstrip()) for each in body if each.strip()), default=0)
    return [each[margin:] for each in body], end


def _directive(name: str, title: str, body: list[str], depth: int) -> Iterator[str]:
    if name in _CODE:
        yield from _fenced(title.strip(), body)
    elif name in _BOXES and depth:
        inner = list(_blocks(body, depth - 1))
        head = _inline(title.strip()) if title.strip() else name.capitalize()
        yield from ("", f"> **{head.strip('*')}**", ">", *(f"> {each}" for each in inner), "")
    elif name == "raw":
        yield "(an image)" if any("<img" in each for each in body) else ""
    else:
        yield from (_inline(each) for each in (title, *body))


def _fenced(language: str, body: list[str]) -> Iterator[str]:
    ticks = (found for line in body for found in re.finditer("`+", line))
    longest = max((found.end() - found.start() for found in ticks), default=0)
    fence = "`" * max(3, longest + 1)
    yield from ("", f"{fence}{re.sub('[^A-Za-z0-9+#-]', '', language)}", *body, fence, "")


def _inline(line: str) -> str:
    if len(line) > _LINE_MOST:
        return line
    line = _LINK.sub(_link, line)
    line = _ROLE.sub(r"`\1`", line)
    return _LITERAL.sub(r"`\1`", line)


def _link(found: re.Match[str]) -> str:
    # Spaces before "<" are no part of the pattern: what may be either text or space is tried in
    # every way there is.
    return f"[{found[1].rstrip() or found[1][0]}]({found[2]})"
