"""Whatever graders, learners and teachers write, readers of Markdown find no HTML in it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from assay.grading.inginious.hypertext import from_html
from assay.grading.inginious.text import to_markdown

TAG = "<img src=x onerror=alert(1)>"
QUOTED_TAG = "&lt;img src=x onerror=alert(1)&gt;"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MANY = 1_000_000
READERS = [
    MarkdownIt("commonmark", {"html": True}),
    MarkdownIt("gfm-like", {"html": True, "linkify": False}),
]


def let_through(url: str) -> bool:
    """What an address may be, each reader judges for itself; the least strict one lets all be."""
    return bool(url)


for reader in READERS:
    reader.validateLink = let_through  # type: ignore[method-assign]


def parsed(markdown: str) -> Iterator[Token]:
    for reader in READERS:
        for block in reader.parse(markdown):
            yield from (block, *(block.children or ()))


def assert_harmless(markdown: str) -> None:
    for token in parsed(markdown):
        assert token.type not in ("html_inline", "html_block"), markdown
        for name in ("href", "src"):
            address = str(token.attrGet(name) or "")
            scheme = re.match("([^/?#:]*):", re.sub(r"[\x00-\x20]", "", address))
            assert scheme is None or scheme[1].lower() in ("http", "https", "mailto"), markdown


TEXTS = [
    f"``a````x`{TAG}``",
    f"`a``` x`{TAG}``",
    f" ~~~\n.. code-block:: text\n\n   ~~~\n   {TAG}",
    f"> ~~~\n.. note::\n\n   ~~~\n   foo::\n\n       ~~~\n       {TAG}",
    f"   ~~~~\n.. math::\n\n   ~~~~\n   {TAG}",
    f" ~~~\n.. raw:: html\n\n   <pre>~~~\n   {QUOTED_TAG}</pre>",
    f"~~~{'x' * 10_001}\n.. code::\n\n   ~~~\n   {TAG}",
    f"a | b\n--- | ---\n``x | {TAG}``",
    f"| a |\n| --- |\n``x {TAG} | y``",
    f"a\\|b\n---\n``x {TAG} | y``",
    f".. csv-table:: t\n   :header: a,b\n\n   ``x\\|{TAG}``,``y\\\\|{TAG}``\n   \\|{TAG},x",
    f".. image:: x\x01y.png\n   :alt: {TAG}",
    f".. image:: \x7f(\n   :alt: {TAG}",
    f"`{TAG} <a\x01b>`_",
    "`x <javascript:alert(1)>`_ `x <JavaScript&colon;alert(1)>`_ `x <java\x02script:a>`_",
    "`x <&#106;avascript:a>`_ `x <data:text/html,x>`_ `x <vbscript:x>`__ `x <:x>`_",
    ".. image:: a.png\n   :target: javascript:alert(1)",
    ".. image:: javascript:alert(1)\n\n.. image:: data:image/png;base64,x",
    "go_\n\n.. _go: javascript:alert(1)",
    "[x]\n\n[x]: javascript:alert(1)",
    "[\nx](javascript:alert(1))\n`a](javascript:alert(1)) b <http://example.org>`_",
    "<\nimg> <img_ src=x onerror=alert(1)> <a_@b.org> \\<b> \\\\<b>",
    "<`x` <javascript:alert(1)> \\&lt;b> &#60;b>",
]


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_becomes_html_or_leads_elsewhere(text: str) -> None:
    assert_harmless(to_markdown(text))


@pytest.mark.parametrize(
    "text",
    [
        f"<code>a</code><code>x`{QUOTED_TAG}</code>",
        f"<tt>a</tt><b></b><tt>``x`{QUOTED_TAG}</tt>`<code>`{QUOTED_TAG}`</code>",
        f"<p>a|b<br>-|-<br><code>x|{QUOTED_TAG}</code>",
        f"<p>a\\|b<br>---<br><code>x{QUOTED_TAG}|</code>",
        "<a href='javascript:a'>x</a><a href=' java&#10;script:a'>x</a><a href=&#1;data:x>x</a>",
        "<a href='&amp;#106;avascript:a'>x</a> <a href='javascript&amp;colon;a'>x</a>",
        "<a href=http://example.org>x](javascript:a) y</a>",
        f"<img src='a&#1;b' alt='{QUOTED_TAG}'>",
        f"~~~<pre>~~~\n{QUOTED_TAG}</pre>",
        f"<code>```</code>\n<pre>\r```\r{QUOTED_TAG}</pre>",
    ],
)
def test_no_html_stays_html_or_leads_elsewhere(text: str) -> None:
    assert_harmless(from_html(text))
    assert_harmless(to_markdown(f".. raw:: html\n\n    {text}\n"))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("``a````x`y``", ["a", "x`y"]),
        ("``ls | wc``", ["ls ", " wc"]),
        ("``a||b``", ["a", "b"]),
        ("``a | b | c``", ["a ", " b ", " c"]),
        ("a\\`` x ``", [" x "]),
    ],
)
def test_code_stays_code(text: str, code: list[str]) -> None:
    assert [each.content for each in parsed(to_markdown(text)) if each.type == "code_inline"] == (
        code * len(READERS)
    )


def read(markdown: str) -> str:
    """The words that somebody reads."""
    shown = READERS[1].parse(markdown)
    return "\n".join(
        "".join(each.content for each in block.children) for block in shown if block.children
    )


@pytest.mark.parametrize(
    "text",
    ["a[0] = b[1] | c", "&lt; &amp; &#60;", "a ~~~ b", "Go!", "map<int, T>", "``a|b``", "C:\\x"],
)
def test_what_is_written_is_what_is_read(text: str) -> None:
    assert read(to_markdown(text)) == text.strip("`")


def test_a_link_after_a_call_is_no_image() -> None:
    shown = to_markdown("Look!`here <https://example.org>`_")
    assert [each.type for each in parsed(shown) if each.type == "image"] == []
    assert to_markdown("`a <mailto:a@b.org>`_ `b <HTTP://b.org/?x=1&y>`_ `c <c/d:e>`_") == (
        "[a](mailto:a@b.org) [b](HTTP://b.org/?x=1&y) [c](c/d:e)"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"http://a.org``{TAG}``", f"http://a.org `{TAG}`"),
        (f"http://a.org``|{TAG}``", f"http://a.org \\|`{TAG}`"),
        ("`a <http://a.org>`_``b``[c]", r"[a](http://a.org)`b`\[c\]"),
        (f"`a`!http://a.org``{TAG}``", f"`a`!http://a.org `{TAG}`"),
        (f"WWW.a.org/x_``{TAG}``", f"WWW.a.org/x_ `{TAG}`"),
        (f"https://a.org\\``{TAG}``", f"https\\://a.org\\\\`{TAG}`"),
        ("`www.a.org](x) b <c>`_", r"[www\.a.org\](x) b](c)"),
        ("see ftp://a.org", r"see ftp\://a.org"),
        ("See (http://a.org/~x?a=1&b=2), www.b.org.", "See (http://a.org/~x?a=1&b=2), www.b.org."),
    ],
)
def test_no_bare_address_takes_with_it_what_follows(text: str, shown: str) -> None:
    """As readers of GitHub's Markdown let an address go on up to the next space."""
    assert to_markdown(text) == shown
    html = f"<u>http</u>://a.org<code>{QUOTED_TAG}</code> <u>http</u>://a.org\\"
    assert from_html(html) == f"http://a.org `{TAG}` http\\://a.org\\\\"


PIECES = [
    "`", "``", "```", "~~~", "~", "|", "\\", "\\|", "\\`", "[", "]", "](", "(", ")", "]: ", "!",
    ":", "<", ">", "<b>", TAG, QUOTED_TAG, "<!--", "-->", "<?", "&lt;", "&#60;", "&amp;#60;", "&",
    ";", "javascript:a", "`x <javascript:a>`_", "`x <a\x01>`_", "http://a.org", "x_", "_", "*",
    "**", "a", "x", " ", "  ", "\t", "\n", "\n\n", "\n    ", "\n- ", "\n> ", "\n---\n",
    "\n--- | ---\n", "\n:-:\n", "::\n\n    ", "\n# ", "\n.. note::\n\n    ",
    "\n.. code-block:: c\n\n    ", "\n.. image:: ", "\n    :alt: ", "\n    :target: ",
    "\n.. csv-table:: t\n\n    ", ",", '"', "\n.. raw:: html\n\n    ", "\n.. math::\n\n    ",
    "\n.. _x: ", "\n.. figure:: a\n\n    ", "<code>", "</code>", "<pre>", "</pre>", "<tt>",
    "</tt>", "<br>", "<p>", "<li>", "</a>", "<a href=javascript:a>", "<a href='http://a.org'>",
    "<img src='", "' alt='", "'>", "\r", "\x0b", "\x01", "\x7f", "\u2028",
]  # fmt: skip


@pytest.mark.parametrize("shown", [to_markdown, from_html])
def test_nothing_that_chance_writes_becomes_html(shown: Callable[[str], str]) -> None:
    chance = random.Random(198)
    for _ in range(800):
        assert_harmless(shown("".join(chance.choices(PIECES, k=chance.randint(2, 24)))))


HIDING = [
    ".. topic:: T\n\n   .. hidden-until:: 2099-01-01\n\n      SECRET",
    ".. only:: x\n\n   .. hidden-until:: 2099-01-01\n\n      SECRET",
    ".. class:: x\n\n   .. c:thing:: y\n\n      .. hidden-until:: 2099-01-01\n\n         SECRET",
    ".. figure:: a.png\n\n   Words\n\n   .. hidden-until:: 2099-01-01\n\n      SECRET",
    "..  hidden-until:: 2099-01-01\n\n    SECRET",
    ".. hidden-until :: 2099-01-01\n\n    SECRET",
    ".. Hidden-Until:: 2099-01-01\n\n    SECRET",
    "..\thidden-until::\t2099-01-01\n\n    SECRET",
    "- .. hidden-until:: 2099-01-01\n\n     SECRET",
    "1. .. hidden-until:: 2099-01-01\n\n      SECRET",
    ":a: .. hidden-until:: 2099-01-01\n\n      SECRET",
    ".. note:: .. hidden-until:: 2099-01-01\n\n      SECRET",
    ".. |x| hidden-until:: 2099-01-01\n\n      SECRET",
    "term::\n   .. hidden-until:: 2099-01-01\n\n      SECRET",
    "- item::\n\n  .. hidden-until:: 2099-01-01\n\n     SECRET",
    "| .. hidden-until:: 2099-01-01 |\n|                             |\n|    SECRET |",
    '.. csv-table:: t\n\n   ".. hidden-until:: 2099-01-01\n\n      SECRET",b',
    "go_\n\n.. hidden-until:: 2099-01-01\n\n    .. _go: http://example.org/SECRET",
    "\n" * 100_001 + ".. HIDDEN-until:: 2099-01-01\n\n    SECRET",
    ".. hidden-until:: 2099-01-01" + " " * 20_000 + "\n\n    SECRET",
    "\n".join("  " * depth + ".. note::" for depth in range(21))
    + f"\n{'  ' * 21}.. hidden-until:: 2099-01-01\n\n{'  ' * 22}SECRET",
]


@pytest.mark.parametrize("text", HIDING)
def test_what_is_hidden_is_so_wherever_it_stands(text: str) -> None:
    for now in (NOW, None):
        assert "SECRET" not in to_markdown(text, now)


@pytest.mark.parametrize("text", HIDING[:15])
def test_what_was_hidden_is_seen_in_time(text: str) -> None:
    assert "SECRET" in to_markdown(text, datetime(2100, 1, 1, tzinfo=UTC))


def test_code_is_kept_line_by_line() -> None:
    options = ":x: y\n    :z: w"
    assert ":x: y\n:z: w" in to_markdown(f"Usage::\n\n    {options}\n")
    assert ":x: y\n:z: w" in to_markdown(f".. code-block:: yaml\n   :class: c\n\n    {options}\n")
    named = ".. _solution: http://example.org"
    for opened in ("Write::", ".. code-block:: rst", ".. math::"):
        shown = to_markdown(f"{opened}\n\n    {named}\n\nsee solution_")
        assert named in shown
        assert "see solution_" in shown


def test_the_first_address_of_a_name_is_the_one() -> None:
    text = "See solution_.\n\n.. _solution: https://a.org\n\n.. _Solution: https://b.org\n"
    assert to_markdown(text).rstrip() == "See [solution](https://a.org)."


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x85", "\u2028"])
def test_lines_end_in_many_ways(end: str) -> None:
    text = f"``a``{end}" * 100_001
    assert to_markdown(text).replace("\\", "") == text


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        ".. " * (MANY // 6) + "hidden-until" * (MANY // 24),
        ".. |" * (MANY // 8) + " " * (MANY // 2) + "hidden-until",
        " " * (MANY // 2) + ".." + " " * (MANY // 2) + "hidden-until:",
        "\n".join(" " * depth + "a::" for depth in range(1000)) + "\n.. hidden-until:: x",
        "\n".join(" " * depth + "a::" for depth in range(1000))
        + f"\n{' ' * 1000}.. hidden-until::",
        "\n".join(" " * depth + ".. topic::" for depth in range(1000)),
        "| .. hidden-until:: 2000-01-01\n" * (MANY // 32),
        "``a|``" * (MANY // 6),
        "\\" * MANY,
        "<" * MANY,
        "~" * MANY,
        "&#" * (MANY // 2),
        "www." * (MANY // 4),
        "http://www.a_``b``" * (MANY // 18),
    ],
)
def test_a_million_hostile_characters_are_read_in_a_moment(text: str) -> None:
    lines = "\n".join(text[at : at + 9_999] for at in range(0, len(text), 9_999))
    for each in (text, lines):
        began = time.process_time()
        to_markdown(each, NOW)
        assert time.process_time() - began < 2
