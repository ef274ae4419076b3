"""What a client of Jobe asks for: from any JSON to values, as leniently as clients need it.

PHP writes `[]` for an empty object and "5" for a number; both are what they mean.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from assay.domain.errors import InvalidInput
from assay.storage.file_cache import require_id

LISTS: Final[Mapping[str, str]] = {
    "compileargs": "compile_args",
    "linkargs": "link_args",
    "interpreterargs": "interpreter_args",
}
"""Parameters with arguments -> the places that they fill."""
_FILES_MOST: Final = 200
_ARGUMENTS_MOST: Final = 500
_ARGUMENTS_LENGTH_MOST: Final = 16_384
_NAME_BYTES_MOST: Final = 200
_FILE_NAME: Final = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._-]+")
_NOT_IN_A_SOURCES_NAME: Final = re.compile(
    "[\x00-\x1f\x7f\xa0\xad" + re.escape("<>:\"/\\|?*#[]@!$&'()+,;={}^~`") + "]"
)
_MAIN_CLASS: Final = re.compile(r"[\w$]+(\.[\w$]+)*")
_LEGACY: Final = "prog.java"
"""What clients of old call any Java source: as if they had said nothing."""


class SentFile(NamedTuple):
    """A file that was sent before, and what it is to be called."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What was asked for beyond the program; None: nothing was."""

    cpu_seconds: float | None = None
    memory_mib: float | None = None
    disk_mib: float | None = None
    stream_mib: float | None = None
    processes: int | None = None
    run_args: tuple[str, ...] = ()
    lists: Mapping[str, tuple[str, ...]]
    """Only those that were given: an empty one differs from none."""
    main_class: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """One program to compile and run."""

    language: str
    source: bytes
    filename: str | None
    stdin: bytes
    files: tuple[SentFile, ...]
    parameters: Parameters


def run_spec(body: bytes | bytearray) -> RunSpec:
    """Read the body of a request. Raises InvalidInput."""
    spec = _object(_object(_decoded(body), "the body").get("run_spec"), "run_spec")
    return RunSpec(
        language=_text(spec, "language_id").lower(),
        source=_encoded(_text(spec, "sourcecode"), "sourcecode"),
        filename=_source_name(spec.get("sourcefilename")),
        stdin=_encoded(_text(spec, "input", otherwise=""), "input"),
        files=_files(spec.get("file_list")),
        parameters=_parameters(spec.get("parameters")),
    )


def _decoded(body: bytes | bytearray) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise InvalidInput("the body is no JSON") from error


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} is missing, or no JSON object")
    return value


def _text(spec: Mapping[str, Any], name: str, *, otherwise: str | None = None) -> str:
    value = spec.get(name)
    if value is None:
        value = otherwise
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidInput(f"run_spec needs {name}, a string")
    return value


def _encoded(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name} is no text: {error.reason}") from error


def _source_name(value: Any) -> str | None:
    if value is None or value in ("", _LEGACY):
        return None
    if (
        not isinstance(value, str)
        or _NOT_IN_A_SOURCES_NAME.search(value)
        or value[0] in ".-"
        or len(_encoded(value, "sourcefilename")) > _NAME_BYTES_MOST
    ):
        raise InvalidInput("sourcefilename cannot be the name of a source file")
    return value


def _files(value: Any) -> tuple[SentFile, ...]:
    listed = value or []
    if not isinstance(listed, list) or len(listed) > _FILES_MOST:
        raise InvalidInput(f"file_list is a list of at most {_FILES_MOST} pairs of id and name")
    return tuple(_file(each) for each in listed)


def _file(value: Any) -> SentFile:
    # A third element once said whether it is a source; nobody ever did anything with it.
    if not (isinstance(value, list) and len(value) in (2, 3)):
        raise InvalidInput("an element of file_list is a pair of a file's id and its name")
    file_id, name = value[:2]
    if not (isinstance(file_id, str) and isinstance(name, str)):
        raise InvalidInput("an element of file_list is a pair of strings")
    require_id(file_id)
    if not _FILE_NAME.fullmatch(name) or len(name) > _NAME_BYTES_MOST:
        raise InvalidInput(f"{name[:80]!r}: a file's name has letters, digits, '.', '_' and '-'")
    return SentFile(file_id, name)


def _parameters(value: Any) -> Parameters:
    given = {} if not value else _object(value, "parameters")
    processes = _number(given, "numprocs")
    return Parameters(
        cpu_seconds=_number(given, "cputime"),
        memory_mib=_number(given, "memorylimit"),
        disk_mib=_number(given, "disklimit"),
        stream_mib=_number(given, "streamsize"),
        processes=None if processes is None else max(1, math.ceil(processes)),
        run_args=_arguments(given, "runargs") or (),
        lists={
            place: arguments
            for name, place in LISTS.items()
            if (arguments := _arguments(given, name)) is not None
        },
        main_class=_main_class(given.get("main_class")),
    )


def _number(given: Mapping[str, Any], name: str) -> float | None:
    """A number above zero; others, and nonsense, mean the environment's own limit."""
    value = given.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 < number < 1e12 else None


def _arguments(given: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """Clients wrote them for a shell, so that one string may be several arguments: "-x c"."""
    value = given.get(name)
    if value is None:
        return None
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(
        isinstance(each, str | int | float) for each in listed
    ):
        raise InvalidInput(f"{name} is a list of strings")
    texts = [str(each) for each in listed]
    if len(texts) > _ARGUMENTS_MOST or sum(map(len, texts)) > _ARGUMENTS_LENGTH_MOST:
        raise InvalidInput(f"{name} is too long")
    return tuple(word for text in texts for word in _words(text, name))


def _words(text: str, name: str) -> list[str]:
    if "\0" in text:
        raise InvalidInput(f"{name} holds a NUL")
    _encoded(text, name)
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"{name}: {error} in {text[:80]!r}") from error


def _main_class(value: Any) -> str | None:
    if value is None:
        return None
    if not (isinstance(value, str) and len(value) <= _NAME_BYTES_MOST):
        raise InvalidInput("main_class is the name of a class")
    if not _MAIN_CLASS.fullmatch(value):
        raise InvalidInput("main_class is the name of a class")
    return value
