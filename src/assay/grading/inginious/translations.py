"""What a learner reads of a task in another language: the folder `$i18n` of a task, by gettext."""

from __future__ import annotations

import gettext
import io
import struct
from collections.abc import Callable
from typing import Final

from assay.grading.inginious.containers import Files

_FOLDER: Final = "$i18n"


def translation(files: Files, language: str) -> Callable[[str], str]:
    """What translates into a language; texts stay as they are where there is nothing for it.

    "fr_BE" is looked for before "fr".
    """
    for name in (language, language.partition("_")[0]):
        wanted = f"{_FOLDER}/{name}.mo"
        found = next((each.content for each in files.in_task if each.name == wanted), None)
        if found is not None:
            return _of(found)
    return str


def _of(content: bytes) -> Callable[[str], str]:
    try:
        known = gettext.GNUTranslations(io.BytesIO(content))
    except (OSError, ValueError, LookupError, struct.error):
        return str  # it is no such file: better the teacher's own words than none
    return lambda text: known.gettext(text) if text else text  # "" stands for what the file is
