"""What learners read: reStructuredText and HTML of INGInious, as Markdown without HTML."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from assay.grading.inginious import Graded, to_result
from assay.grading.inginious.environments import Environments
from assay.grading.inginious.hypertext import from_html
from assay.grading.inginious.judging import GradedPart
from assay.grading.inginious.offered import ServedTask
from assay.grading.inginious.text import to_markdown

MANY = 1_000_000
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)

IMAGES = [
    (".. image:: tree/shape.png\n    :height: 3px\n", "![shape.png](tree/shape.png)"),
    (".. image:: https://example.org/a.png\n   :alt: A [tree]\n",
     r"![A \[tree\]](https://example.org/a.png)"),
    (".. image:: $common/a (1).png\n", "![a(1).png]($common/a%281%29.png)"),
    (".. image::\n   https://example.org/\n   long.png\n   :alt: long\n",
     "![long](https://example.org/long.png)"),
    (".. image:: a.png\n   :target: https://example.org\n   :alt: a\n",
     "[![a](a.png)](https://example.org)"),
    (".. figure:: a.png\n   :scale: 70 %\n   :alt: a\n\n   Its ``caption``.\n",
     "![a](a.png)\n\nIts `caption`."),
    (".. container:: wide\n\n   .. image:: a.png\n      :alt: a\n", "![a](a.png)"),
    (".. note::\n\n   .. image:: a.png\n      :alt: a\n", "> **Note**\n>\n> \n> ![a](a.png)\n>"),
    (".. raw:: html\n\n   <img alt='x' src=\"https://example.org/a.png\">\n",
     "![x](https://example.org/a.png)"),
    ('.. raw:: html\n\n\t<img src="data:image/png;base64,AAAA">\n', "(an image)"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "shown"), IMAGES)
def test_images_are_images(written: str, shown: str) -> None:
    assert to_markdown(written).strip() == shown


def test_a_choice_may_be_an_image(tmp_path: Path) -> None:
    choices = "choices: [{text: '.. image:: pick/a.png', valid: true}, {text: none}]"
    (tmp_path / "task.yaml").write_text(
        "environment_type: mcq\nenvironment_id: mcq\ncontext: '.. image:: pick/b.png'\n"
        f"problems: {{q: {{type: multiple_choice, header: '.. image:: c.png', {choices}}}}}\n"
    )
    shown = ServedTask.in_folder(tmp_path, Environments()).shown(None)
    assert shown.description.strip() == "![b.png](pick/b.png)"
    assert shown.parts[0].description.strip() == "![c.png](c.png)"
    assert shown.parts[0].choices == ("![a.png](pick/a.png)", "none")


HTML = [
    ("<p>Write <code>push(node **l, a &lt; b)</code>,\n  <b>now</b>.</p>",
     "Write `push(node **l, a < b)`, **now**."),
    ("a * b `c` &lt;script&gt;", r"a \* b \`c\` &lt;script&gt;"),
    ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
    ("<pre>\n  a;\n\n\n    b &amp;&amp; c;\n</pre>", "```\n  a;\n\n\n    b && c;\n```"),
    ("<a href='https://example.org/?a=1&amp;b=2'>here</a> <a name=x>there</a>",
     "[here](https://example.org/?a=1&b=2) there"),
    ("x<script>if (a < b) { run() }</script>y<style>p {}</style>z", "xyz"),
    ("<svg width=3><text>hidden</text></svg>", "(an image)"),
    ("one<br>two<hr/>three", "one\ntwo\n\n---\n\nthree"),
    ("a<!-- no --> b <!-- never", "a b"),
    ("<code>a`b</code> <tt></tt>", "`` a`b ``"),
    ("<code>open", "`open`"),
    ("\\<code>&lt;b></code> <<u>script>", r"\\`<b>` &lt;script>"),
    ("3 < 4 and 5 > 4", "3 &lt; 4 and 5 > 4"),
    ("<IMG SRC=a.png ALT=b>", "![b](a.png)"),
    ("<table><tr><th>a</th><td>b</td></tr></table>", "a b"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "shown"), HTML)
def test_html_keeps_its_words_and_loses_its_tags(written: str, shown: str) -> None:
    assert from_html(written) == shown


@pytest.mark.parametrize("text", ["<img src=x onerror=alert(1)>", "<iframe src=x></iframe>",
                                  "<p onclick='x'>a</p>", "<ScRiPt>x</sCrIpT>"])  # fmt: skip
def test_nothing_of_a_text_would_run(text: str) -> None:
    shown = to_markdown(f".. raw:: html\n\n    {text}\n")
    assert "<" not in shown
    assert "onerror" not in shown


WORDS = [
    "vector<int> and </b> <!-- x --> <?php",
    "a `b ```c <script>",
    "a\\`<script>`",
    "\\\\`<script>",
    "\\``<script>``",
    "``` <script>",
    "~~~ x",
    "[x](javascript:run)",
    "`<script>``",
]


@pytest.mark.parametrize("text", WORDS)
def test_words_are_shown_as_they_are(text: str) -> None:
    """By a reader of Markdown that takes HTML in it for HTML: what it shows are the words."""
    shown = MarkdownIt("commonmark", {"html": True}).parseInline(to_markdown(text))[0].children
    assert shown is not None
    assert {each.type for each in shown} <= {"text", "code_inline", "text_special"}
    said = "".join(each.content for each in shown)
    assert [word in said for word in ("script", "int", "run")] == [
        word in text for word in ("script", "int", "run")
    ]


def test_what_a_learner_prints_opens_no_code_of_the_graders() -> None:
    lines = ["```", "", ".. code-block:: c", "", "   <script>", "", "`", "", "`<script>`"]
    parsed = MarkdownIt("commonmark", {"html": True}).parse(to_markdown("\n".join(lines)))
    inside = [each for block in parsed for each in block.children or [block]]
    assert not [each for each in inside if each.type.startswith("html")]
    assert [each.content for each in parsed if each.type == "fence"] == ["<script>\n"]


TABLES = [
    (":header: File,Line\n\n   a.c,``3``\n   b|c", "| File | Line |\n| --- | --- |\n| a.c | `3` |\n"
     "| b\\|c |  |"),
    ("\n   a,b\n   <c>,d", "|  |  |\n| --- | --- |\n| a | b |\n| &lt;c> | d |"),
    (":quote: §\n   :delim: ;\n\n   §a;\n   b§;c", "|  |  |\n| --- | --- |\n| a; b | c |"),
    (":quote: too long\n\n   a,<b>", "a,&lt;b>"),
    (":header: \n", ""),
]  # fmt: skip


@pytest.mark.parametrize(("written", "shown"), TABLES)
def test_tables_are_tables(written: str, shown: str) -> None:
    assert (
        to_markdown(f".. csv-table:: Title\n   {written}\n").strip() == f"Title\n\n{shown}".strip()
    )


def test_addresses_may_have_names() -> None:
    text = "See `the page`_ and Page_, other_ and `code`_.\n\n.. _the page: /a\n.. _page : b(c\n"
    shown = "See [the page](/a) and [Page](b%28c), other_ and `code`.\n\n"
    assert to_markdown(text).rstrip() == shown.rstrip()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a\n\n.. to do: ask Bob\n   for more\n\n   and more\n\nb", "a\n\nb"),
        ("a\n..\n   all of it\n\nb", "a\nb"),
        ("a\n\n..\n\n   a quotation", "a\n\n\n   a quotation"),
        (".. note: no directive\na", "a"),
        (".. _here:\n.. __: http://example.org\na", "a"),
        ("so on ..\n... and on\n..so", "so on ..\n... and on\n..so"),
        (".. [1] A footnote.", ".. \\[1\\] A footnote."),
        (".. c:function:: f", ".. c:function:: f"),
        ("::\n\n   .. code", "\n\n\n```\n.. code\n```\n"),
        (".. comment\n   .. _k: http://evil.example\n\nk_", "k_"),
        ("- one\n\n  .. comment\n- two", "- one\n\n- two"),
    ],
)
def test_comments_are_for_nobody_but_their_author(written: str, shown: str) -> None:
    assert to_markdown(written) == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("- .. image:: a.png\n     :alt: pic\n- b", "- ![pic](a.png)\n\n- b"),
        ("1. .. code-block:: c\n\n      int x;\n\n   b", "1. ```c\n   int x;\n   ```\n\n   b"),
        ("- .. comment\n- b", "- \n- b"),
        (
            "- .. code-block:: c\n\n     .. _k: http://e.org\n\nk_",
            "- ```c\n  .. _k: http://e.org\n  ```\n\nk_",
        ),
    ],
)
def test_what_stands_behind_the_mark_of_a_list_is_what_it_is(written: str, shown: str) -> None:
    assert to_markdown(written) == shown


def test_words_may_stand_for_others() -> None:
    text = "|b| and |b|_, |c|\n\n.. |b| replace:: `A Book`\n.. _b: http://e.org\n"
    assert to_markdown(text).strip() == "A Book and [A Book](http://e.org), \\|c\\|"
    assert to_markdown(".. |b| replace:: <b>[x](y)|\n|b|") == "&lt;b>\\[x\\](y)\\|"
    hidden = ".. hidden-until:: 2999-01-01\n\n   .. |b| replace:: the answer\n\n|b|"
    assert "the answer" not in to_markdown(hidden)


@pytest.mark.parametrize(
    ("definition", "use"),
    [
        (".. _a: http://e.org/", "a_ "),
        (".. |a| replace:: ", "|a| "),
        (".. _a: http://e.org/", "`a`_ "),
    ],
)
def test_a_short_name_for_something_long_makes_no_flood(definition: str, use: str) -> None:
    text = f"{definition}{'x' * 9000}\n\n" + (use * 300 + "\n") * 60
    assert len(to_markdown(text)) < 3 << 20


def test_formulas_are_kept_letter_by_letter() -> None:
    assert to_markdown(".. math::\n\n   a_1 * b_1\n").strip() == "```math\na_1 * b_1\n```"
    assert to_markdown(".. math:: a_1\n").strip() == "```math\na_1\n```"


@pytest.mark.parametrize(
    ("until", "is_seen"),
    [
        ("2026-06-01", True),
        ("2026-06-01 11:00:00+00:00", True),
        ("22/05/2002", True),
        ("22/05/2002 10:30", True),
        ("2026-06-03", False),
        ("22/05/2202 10:30:00", False),
        ("soon", False),
    ],
)
def test_what_is_hidden_until_later_is_left_out(until: str, is_seen: bool) -> None:
    text = f"before\n\n.. hidden-until:: {until}\n\n    the *solution*\n\nafter\n"
    shown = to_markdown(text, NOW)
    assert ("solution" in shown) is is_seen
    assert (until in shown) is not is_seen
    assert ("before" in shown, "after" in shown) == (True, True)
    assert "solution" not in to_markdown(text), "nobody knows what time it is"


def test_feedback_is_read_as_its_task_says() -> None:
    said = "<p>Well <b>done</b></p>"
    graded = Graded(
        result="success", grade=100.0, message=said,
        problems={"q": GradedPart(result="success", message=said)},
    )  # fmt: skip
    for hypertext, shown in ((True, "Well **done**"), (False, said.replace("<", "&lt;"))):
        result = to_result(graded, hypertext=hypertext)
        assert [result.message, result.parts[0].message] == [shown, shown]
    hidden = ".. hidden-until:: 2026-05-01\n\n    why"
    late = replace(graded, message=hidden)
    assert "why" in to_result(late, now=NOW).message
    assert "why" not in to_result(late).message


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "<" * MANY,
        "<a" * (MANY // 2),
        "<" + "a" * MANY,
        "<a " + "b" * MANY,
        "<img " + "b " * (MANY // 2) + ">",
        "<img " + "b= " * (MANY // 3) + ">",
        "<img src='" * (MANY // 10),
        "<!--" * (MANY // 4),
        "<code>" * (MANY // 6),
        "<a href=x>" * (MANY // 10),
        "<code>" + "`" * MANY,
        "*" * MANY,
    ],
)
def test_a_million_characters_of_html_are_read_in_a_moment(text: str) -> None:
    began = time.process_time()
    to_markdown(f".. raw:: html\n\n    {text}")
    assert time.process_time() - began < 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        ".. image:: " + "a " * (MANY // 2),
        ".. csv-table:: a\n\n" + '   "a,b\n' * (MANY // 9),
        ".. csv-table:: a\n\n   " + "," * 100_000 + "\n   a" * 100_000,
        ".. image::\n" + "    x\n" * (MANY // 6),
        ".. figure:: x\n" + "    :a: b\n" * (MANY // 11),
        "\n".join(" " * depth + ".. container:: x" for depth in range(1000)),
        "\n".join(" " * depth + ".. hidden-until:: 2000-01-01" for depth in range(1000)),
    ],
)
def test_a_million_characters_of_images_and_boxes_are_read_in_a_moment(text: str) -> None:
    began = time.process_time()
    to_markdown(text, NOW)
    assert time.process_time() - began < 2
