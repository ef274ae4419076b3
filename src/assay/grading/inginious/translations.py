"""What a learner reads of a task in another language, by gettext.

Of a folder `$i18n`: the task's, its students', or else the course's.
"""

from __future__ import annotations

import gettext
import io
import re
import struct
from collections.abc import Callable, Mapping
from typing import Final

from assay.domain.limits import MIB
from assay.grading.inginious.containers import Files

_FOLDER: Final = "$i18n/"
_OF_TASK: Final = ("", "student/")
_OF_COURSE: Final = ("common/", "common/student/")
_ENTRIES_MOST: Final = 10_000
_BYTES_MOST: Final = MIB
_MAGIC: Final = 0x950412DE
_CHARSETS: Final = (
    "utf-8",
    "utf8",
    "us-ascii",
    "ascii",
    "iso-8859-",
    "latin",
    "windows-125",
    "koi8",
)
"""How names of those begin that read a text in the time that its length takes."""


def translation(files: Files, language: str) -> Callable[[str], str]:
    """What translates into a language; texts stay as they are where there is nothing for it.

    The first folder that is there is the only one. "fr_BE" is looked for before "fr".
    """
    known = _catalogues(files)
    for name in (language, language.partition("_")[0]):
        found = known.get(f"{name}.mo")
        if found is not None:
            return _of(found)
    return str


def _catalogues(files: Files) -> Mapping[str, bytes]:
    """By names of files."""
    for entries, places in ((files.in_task, _OF_TASK), (files.in_course, _OF_COURSE)):
        for place in places:
            folder = f"{place}{_FOLDER}"
            inside = [each for each in entries if f"{each.name}/".startswith(folder)]
            if inside:
                return {
                    each.name.removeprefix(folder): each.content
                    for each in inside
                    if each.content is not None
                }
    return {}


def _of(content: bytes) -> Callable[[str], str]:
    try:
        _require_small(content)
        known = gettext.GNUTranslations(io.BytesIO(content))
    except (OSError, ValueError, LookupError, struct.error):
        return str  # it is no such file: better the teacher's own words than none
    return lambda text: known.gettext(text) if text else text  # "" stands for what the file is


def _require_small(content: bytes) -> None:
    """Raise ValueError for a file that takes long to read: its texts may be the same bytes."""
    order = "<" if content[:4] == struct.pack("<I", _MAGIC) else ">"
    count, *tables = struct.unpack_from(f"{order}3I", content, 8)
    if count > _ENTRIES_MOST:
        raise ValueError("it has too many texts")
    names, texts = (struct.unpack_from(f"{order}{2 * count}I", content, each) for each in tables)
    if sum(names[::2]) + sum(texts[::2]) > min(len(content), _BYTES_MOST):
        raise ValueError("its texts are longer than it is")
    for length, size, begin in zip(names[::2], texts[::2], texts[1::2], strict=True):
        said = re.findall(rb"charset=(\S+)", content[begin : begin + size]) if not length else ()
        if not all(each.decode("ascii").lower().startswith(_CHARSETS) for each in said):
            raise ValueError("its texts are in an unusual encoding")
