"""A layer's tar archive, read strictly: ustar, pax and GNU's long names, nothing else.

Python's `tarfile` is for archives of friends: it reads headers of any size into memory, expands
sparse files, and passes over what it doesn't understand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from assay.images.stream import LayerStream, Refused

_BLOCK: Final = 512
_MOST_HEADER_BYTES: Final = 1024 * 1024
"""Of a long name, or of one entry's extended header."""
_MOST_SECONDS: Final = 1 << 40
_NANOSECONDS: Final = 1_000_000_000


class Kind(Enum):
    """What an entry makes."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "symbolic link"
    SAME = "hard link"
    DEVICE = "device"
    PIPE = "named pipe"


_KINDS: Final = {
    b"0": Kind.FILE, b"\0": Kind.FILE, b"7": Kind.FILE, b"1": Kind.SAME, b"2": Kind.LINK,
    b"3": Kind.DEVICE, b"4": Kind.DEVICE, b"5": Kind.FOLDER, b"6": Kind.PIPE,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One thing of a layer. `name` and `target` are as written: nothing is checked yet."""

    name: bytes
    kind: Kind
    mode: int
    user: int
    group: int
    size: int
    modified_ns: int
    target: bytes = b""


def read_entries(stream: LayerStream) -> Iterator[Entry]:
    """Read headers; the caller takes a file's `size` bytes from the stream, or leaves them.

    Raises Refused.
    """
    body = _Body(stream)
    extended: dict[bytes, bytes] = {}
    while (header := _header(stream)) is not None:
        kind, size = header[156:157], _number(header[124:136], "size")
        if kind in (b"x", b"g", b"L", b"K"):
            content = _long(stream, size)
            if kind == b"x":
                extended.update(_records(content))
            elif kind != b"g":  # a global header holds remarks; git puts its commit there
                name = b"path" if kind == b"L" else b"linkpath"
                extended[name] = content.partition(b"\0")[0]
            continue
        entry = _entry(header, kind, size, extended)
        extended = {}
        body.begin(entry.size)
        yield entry
        body.finish()
    if extended:
        raise Refused("it ends after an extended header")


class _Body:
    """Sees to it that the stream stands at the next header, however much of a file was read."""

    def __init__(self, stream: LayerStream) -> None:
        self._stream = stream
        self._end = 0

    def begin(self, size: int) -> None:
        self._end = self._stream.position + size + -size % _BLOCK

    def finish(self) -> None:
        while (left := self._end - self._stream.position) > 0:
            if not self._stream.some(left):
                raise Refused("it ends in the middle of a file")


def _header(stream: LayerStream) -> bytes | None:
    """The next header; None at the end, which is a block of zeros or where the bytes end."""
    header = stream.read(_BLOCK)
    if not header or not any(header):
        return None
    if len(header) < _BLOCK:
        raise Refused("it ends in the middle of a header")
    told = _number(header[148:156], "checksum")
    plain = header[:148] + b" " * 8 + header[156:]
    if told != sum(plain) and told != _signed_sum(plain):
        raise Refused("it is no tar archive, or a damaged one (checksum of a header)")
    return header


def _signed_sum(header: bytes) -> int:
    """What some tools of old write in the place of the sum."""
    return sum(byte - 256 if byte > 127 else byte for byte in header)


def _entry(header: bytes, kind: bytes, size: int, extended: dict[bytes, bytes]) -> Entry:
    if kind == b"S" or any(name.startswith(b"GNU.sparse.") for name in extended):
        raise Refused("it has a sparse file in GNU's form; write it with an ordinary tar")
    if kind not in _KINDS:
        raise Refused(f"it has an entry of the unknown kind {kind!r}")
    name = extended.get(b"path") or _name(header)
    found = _KINDS[kind]
    if kind == b"\0" and name.endswith(b"/"):
        found = Kind.FOLDER
    if b"size" in extended:
        size = _decimal(extended[b"size"], "size")
    if size and found is not Kind.FILE:
        raise Refused(f"{show(name)}: a {found.value} has no content")
    return Entry(
        name=name,
        kind=found,
        mode=_number(header[100:108], "mode") & 0o7777,
        user=_id(extended.get(b"uid"), header[108:116]),
        group=_id(extended.get(b"gid"), header[116:124]),
        size=size,
        modified_ns=_time(extended.get(b"mtime"), header[136:148]),
        target=extended.get(b"linkpath") or _text(header[157:257]),
    )


def _name(header: bytes) -> bytes:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
        return prefix + b"/" + name
    return name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes, what: str) -> int:
    """A number in octal digits, or in GNU's binary form for large ones. Never negative."""
    if field[0] & 0x80:
        if field[0] & 0x7F:
            raise Refused(f"it has a header with a negative or immense {what}")
        return int.from_bytes(field[1:], "big")
    digits = _text(field).strip(b" ")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise Refused(f"it has a header whose {what} is no number")
    return int(digits or b"0", 8)


def _decimal(text: bytes, what: str) -> int:
    if not re.fullmatch(rb"\d{1,19}", text):
        raise Refused(f"it has an extended header whose {what} is no number")
    return int(text)


def _id(extended: bytes | None, field: bytes) -> int:
    return _number(field, "owner") if extended is None else _decimal(extended, "owner")


def _time(extended: bytes | None, field: bytes) -> int:
    """Nanoseconds since 1970; what is before (Go writes the year 1 for no time at all) is 0."""
    if extended is None:
        return 0 if field[0] == 0xFF else _sane(_number(field, "time"))
    found = re.fullmatch(rb"(-?)(\d{1,18})(?:\.(\d*))?", extended)
    if found is None:
        raise Refused("it has an extended header whose time is no number")
    fraction = (found[3] or b"")[:9].ljust(9, b"0")
    return 0 if found[1] else _sane(int(found[2])) + int(fraction)


def _sane(seconds: int) -> int:
    return min(seconds, _MOST_SECONDS) * _NANOSECONDS


def _long(stream: LayerStream, size: int) -> bytes:
    if size > _MOST_HEADER_BYTES:
        raise Refused("it has a header that is larger than any name")
    content = stream.read(size + -size % _BLOCK)
    if len(content) < size:
        raise Refused("it ends in the middle of a header")
    return content[:size]


def _records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records of an extended header: "LENGTH KEY=VALUE\\n"."""
    start = 0  # and no slices of the rest: there can be 200,000 records
    while start < len(content):
        length, _, _ = content[start : start + 20].partition(b" ")
        end = start + _decimal(length, "length")
        record = content[start + len(length) + 1 : end]
        key, equals, value = record.partition(b"=")
        if end > len(content) or not equals or not value.endswith(b"\n"):
            raise Refused("it has a damaged extended header")
        if key in (b"path", b"linkpath") and b"\0" in value:
            raise Refused("it has a name with a NUL in it")
        yield key, value[:-1]
        start = end


def show(name: bytes) -> str:
    """A name from a stranger, for a message: short, and without what moves a terminal's cursor."""
    text = name.decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return text if len(text) <= 200 else f"{text[:200]}…"
