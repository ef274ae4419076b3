"""What a source file is called when its client does not say."""

from __future__ import annotations

import re
from typing import Final

from assay.environments import JobeLanguage

_MAIN_CLASS: Final = "{main_class}"
_NOT_CODE: Final = re.compile(
    rb"//[^\n]*"
    rb"|/\*.*?(?:\*/|\Z)"
    rb'|"""(?:\\.|[^\\])*?(?:"""|\\?\Z)'
    rb'|"(?>(?:\\.|[^"\\\n])*)"?'
    rb"|'(?>(?:\\.|[^'\\\n])*)'?",
    re.DOTALL,
)
"""Comments and strings; one that nobody closes reaches to the end, of its line or of all, so that
all is read once, whatever a stranger writes."""
_LOOKED_AT: Final = 1024 * 1024
"""Bytes of a source: what comes later has no say in its name."""
_PUBLIC_CLASS: Final = re.compile(
    rb"\bpublic\s+(?:(?:static|final|abstract|strictfp|sealed)\s+)*"
    rb"(?:class|record|enum|interface)\s+([A-Za-z_$][\w$]{0,150})"
)
_ANY_CLASS: Final = re.compile(rb"\bclass\s+([A-Za-z_$][\w$]{0,150})")
_MAIN: Final = re.compile(rb"\bvoid\s+main\s*\(")


def source_name(language: JobeLanguage, source: bytes) -> str:
    """Its name, after its main class where the language wants that."""
    if _MAIN_CLASS not in language.source:
        return language.source
    return language.source.replace(_MAIN_CLASS, main_class(source) or "prog")


def main_class(source: bytes) -> str | None:
    """The public class of a Java source, or the last class before its `main`, if there is one."""
    code = _NOT_CODE.sub(b" ", source[:_LOOKED_AT])
    found = _PUBLIC_CLASS.search(code)
    if found is None:
        main = _MAIN.search(code)
        before = list(_ANY_CLASS.finditer(code, 0, len(code) if main is None else main.start()))
        found = before[-1] if before else None
    return None if found is None else found[1].decode("ascii")
