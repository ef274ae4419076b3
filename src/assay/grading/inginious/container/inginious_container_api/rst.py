"""Blocks of reStructuredText."""

_CLASSES = ("info", "danger", "warning", "success")


def _indented(text):
    return "".join("\t" + line + "\n" for line in text.splitlines()) + "\n"


def get_codeblock(language, text):
    """A block of code."""
    return "\n\n.. code-block:: " + language + "\n\n" + _indented(text)


def get_imageblock(filename, format=""):
    """An image, with all of its content."""
    import base64
    import os

    with open(filename, "rb") as image:
        content = base64.b64encode(image.read()).decode("ascii")
    kind = format or os.path.splitext(filename)[1][1:]
    source = "data:image/" + kind + ";base64," + content
    return '\n\n.. raw:: html\n\n\t<img src="' + source + '">\n'


def get_admonition(cssclass, title, text):
    """A box; of class info unless it is danger, warning or success."""
    shown = cssclass if cssclass in _CLASSES else "info"
    head = ".. admonition:: " + title if title else ".. note:: "
    return "\n\n" + head + "\n\t:class: alert alert-" + shown + "\n\n" + _indented(text)


def indent_block(amount, text, indent_char="\t"):
    """Each line further in; or, with a negative amount, further out."""
    lines = text.splitlines()
    if amount > 0:
        return "".join(indent_char * amount + line + "\n" for line in lines)
    return "".join(_outdented(line, -amount, indent_char) + "\n" for line in lines)


def _outdented(line, amount, indent_char):
    kept = (c for at, c in enumerate(line) if c != indent_char or at + 1 > amount)
    return "".join(kept)
