"""The messages made of fields: HELLO, READY, REFUSED, FAILED, EXEC and EXIT, both directions."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from assay.agent import protocol as wire
from assay.domain.command import Command, Interpreter, TerminalSize
from assay.domain.errors import InvalidInput
from assay.domain.facts import Facts, KilledBy, Measurement, Scope, Source
from assay.domain.limits import ExecutionLimits
from assay.driver.port import Secret

_KNOWN: Final = struct.Struct("<IBQQQI")
_MEASUREMENT: Final = struct.Struct("<QBB")
_MOST: Final = 2**63

_REASONS: Final = {1: KilledBy.WALL, 2: KilledBy.CPU, 3: KilledBy.OUTPUT, 4: KilledBy.CANCEL}
_SCOPES: Final = {1: Scope.EXECUTION, 2: Scope.SANDBOX}
_MEASURED: Final = {
    37: "wall_ns",
    38: "cpu_ns",
    39: "peak_memory_bytes",
    40: "output_bytes",
    41: "oom_kills",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownExecution:
    """An execution that the agent holds for whoever connects; offsets count bytes from 0."""

    number: int
    ended: bool
    output_start: int
    output_end: int
    stdin_received: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Hello:
    """What the host says first."""

    secret: bytes
    epoch: int
    version: int = wire.VERSION

    def encode(self) -> bytes:
        """The payload."""
        return wire.number(1, self.version) + wire.field(2, self.secret) + _epoch(self.epoch)

    @classmethod
    def decode(cls, payload: bytes) -> Hello:
        """Read a payload."""
        found = dict(wire.fields(payload))
        return cls(
            secret=found.get(2, b""),
            epoch=wire.to_number(found.get(3, bytes(8))),
            version=wire.to_number(found.get(1, bytes(8))),
        )


def hello_frame(secret: Secret, epoch: int) -> bytes:
    """Encode HELLO as a frame."""
    return wire.frame(0, wire.HELLO, Hello(secret=secret.reveal(), epoch=epoch).encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """What the agent answers."""

    epoch: int
    version: int = wire.VERSION
    release: str = ""
    capabilities: frozenset[str] = frozenset()
    known: tuple[KnownExecution, ...] = ()
    highest: int = 0
    """The highest number that an execution ever had, released ones too."""

    def encode(self) -> bytes:
        """The payload."""
        parts = [wire.number(1, self.version), _epoch(self.epoch), wire.number(9, self.highest)]
        parts.append(wire.field(4, self.release.encode()))
        parts += [wire.field(5, name.encode()) for name in sorted(self.capabilities)]
        parts += [wire.field(6, _encode_known(known)) for known in self.known]
        return b"".join(parts)

    @classmethod
    def decode(cls, payload: bytes) -> Ready:
        """Read a payload."""
        found = list(wire.fields(payload))
        last = dict(found)
        if not {1, 3} <= last.keys():
            raise wire.violation("READY without version and epoch")
        return cls(
            version=wire.to_number(last[1]),
            epoch=wire.to_number(last[3]),
            release=wire.to_text(last.get(4, b"")),
            capabilities=frozenset(wire.to_text(value) for tag, value in found if tag == 5),
            known=_unique(_decode_known(value) for tag, value in found if tag == 6),
            highest=min(wire.to_number(last[9]), 2**32 - 1) if 9 in last else 0,
        )


def _epoch(epoch: int) -> bytes:
    return wire.number(3, epoch)


def _encode_known(known: KnownExecution) -> bytes:
    state = 2 if known.ended else 1
    offsets = known.output_start, known.output_end, known.stdin_received
    return _KNOWN.pack(known.number, state, *offsets, 0)


def _decode_known(value: bytes) -> KnownExecution:
    if len(value) != _KNOWN.size:
        raise wire.violation(f"an execution of {len(value)} bytes in READY")
    number, state, start, end, received, reserved = _KNOWN.unpack(value)
    if not number or state not in (1, 2) or reserved or not 0 <= end - start <= wire.WINDOW_BYTES:
        raise wire.violation("an execution in READY that makes no sense")
    return KnownExecution(
        number=number,
        ended=state == 2,
        output_start=start,
        output_end=end,
        stdin_received=received,
    )


def _unique(known: Iterable[KnownExecution]) -> tuple[KnownExecution, ...]:
    by_number: dict[int, KnownExecution] = {}
    for execution in known:
        if by_number.setdefault(execution.number, execution) is not execution:
            raise wire.violation(f"execution {execution.number} twice in READY")
    return tuple(by_number.values())


def refusal(code: str, message: str) -> bytes:
    """Encode the payload of REFUSED and of FAILED."""
    return wire.field(7, code.encode()) + wire.field(8, message.encode())


def to_refusal(payload: bytes) -> tuple[str, str]:
    """Decode REFUSED or FAILED into code and message, neither longer than a line of text."""
    found = dict(wire.fields(payload))
    return wire.to_text(found.get(7, b""))[:40], wire.to_text(found.get(8, b""))[:400]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """EXEC as the agent reads it; texts are bytes, as the kernel has them. None: no limit."""

    argv: tuple[bytes, ...]
    environment: tuple[bytes, ...] = ()
    working_directory: bytes = b""
    uid: int = 0
    gid: int = 0
    terminal: TerminalSize | None = None
    separate_stderr: bool = False
    stdin: bool = False
    wall_ns: int | None = None
    cpu_ns: int | None = None
    output_bytes: int | None = None
    open_files: int | None = None
    builtin: bool = False


def exec_frame(channel: int, command: Command, *, builtin: bool = False) -> bytes:
    """Encode EXEC. Raises InvalidInput when the command does not fit into a frame."""
    parts = [wire.field(16, _bytes(argument)) for argument in command.argv]
    if builtin:
        parts.append(wire.number(28, 1))
        if command.working_directory is not None:
            parts.append(wire.field(18, _bytes(command.working_directory)))
    else:
        for name, value in command.environment.items():
            parts.append(wire.field(17, _bytes(f"{name}={value}")))
        parts.append(wire.field(18, _bytes(command.folder)))
    if not command.privileged:
        parts.append(wire.number(19, command.uid))
        if command.gid is not None:
            parts.append(wire.number(20, command.gid))
    if command.terminal is not None:
        parts.append(wire.field(21, terminal_size(command.terminal)))
        if command.separate_stderr:
            parts.append(wire.number(22, 1))
    if command.stdin:
        parts.append(wire.number(23, 1))
    parts.append(_limits(command.limits))
    if command.last:
        parts.append(wire.number(29, 1))
    payload = b"".join(parts)
    if len(payload) > wire.MOST_PAYLOAD:
        raise InvalidInput(
            f"arguments and environment have {len(payload):,} bytes together;"
            f" at most {wire.MOST_PAYLOAD:,} can be passed (use a file, or standard input)"
        )
    return wire.frame(channel, wire.EXEC, payload)


def prepare_frame(interpreter: Interpreter | None) -> bytes:
    """Encode PREPARE; None: no interpreter. Raises InvalidInput when it does not fit."""
    if interpreter is None:
        return wire.frame(0, wire.PREPARE)
    parts = [wire.field(16, _bytes(word)) for word in (interpreter.path, *interpreter.packages)]
    for name, value in interpreter.environment.items():
        parts.append(wire.field(17, _bytes(f"{name}={value}")))
    parts.append(wire.number(19, interpreter.uid))
    if interpreter.gid is not None:
        parts.append(wire.number(20, interpreter.gid))
    if interpreter.open_files is not None:
        parts.append(wire.number(27, interpreter.open_files))
    payload = b"".join(parts)
    if len(payload) > wire.MOST_PREPARE:
        raise InvalidInput(
            f"an interpreter's packages and environment have {len(payload):,} bytes together;"
            f" at most {wire.MOST_PREPARE:,} can be passed"
        )
    return wire.frame(0, wire.PREPARE, payload)


def terminal_size(size: TerminalSize) -> bytes:
    """Encode a terminal's size. Raises InvalidInput when it is out of range."""
    if not (0 < size.rows < 65536 and 0 < size.columns < 65536):
        raise InvalidInput("a terminal has 1 to 65,535 rows and columns")
    return wire.size_bytes(size.rows, size.columns)


def _limits(limits: ExecutionLimits) -> bytes:
    parts = []
    if limits.wall_seconds is not None:
        parts.append(wire.number(24, _nanoseconds(limits.wall_seconds)))
    if limits.cpu_seconds is not None:
        parts.append(wire.number(25, _nanoseconds(limits.cpu_seconds)))
    if limits.output_bytes is not None:
        parts.append(wire.number(26, limits.output_bytes))
    if limits.open_files is not None:
        parts.append(wire.number(27, limits.open_files))
    return b"".join(parts)


def _nanoseconds(seconds: float) -> int:
    return min(max(1, round(seconds * 1e9)), _MOST - 1)


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{text!r} is not valid text") from error


_REQUEST_NUMBERS: Final = frozenset({19, 20, 22, 23, 24, 25, 26, 27, 28})


def to_request(payload: bytes) -> Request:
    """Decode EXEC."""
    found = list(wire.fields(payload))
    last = dict(found)
    number = {tag: wire.to_number(last[tag]) for tag in _REQUEST_NUMBERS & last.keys()}
    terminal = None
    if 21 in last:
        rows, columns = wire.to_size(last[21])
        terminal = TerminalSize(rows=rows, columns=columns)
    return Request(
        argv=tuple(value for tag, value in found if tag == 16),
        environment=tuple(value for tag, value in found if tag == 17),
        working_directory=last.get(18, b""),
        uid=number.get(19, 0),
        gid=number.get(20, number.get(19, 0)),
        terminal=terminal,
        separate_stderr=bool(number.get(22)),
        stdin=bool(number.get(23)),
        wall_ns=number.get(24),
        cpu_ns=number.get(25),
        output_bytes=number.get(26),
        open_files=number.get(27),
        builtin=bool(number.get(28)),
    )


def exit_payload(facts: Facts) -> bytes:
    """Encode EXIT."""
    parts = []
    if facts.exit_code is not None:
        parts.append(wire.number(32, facts.exit_code))
    if facts.signal is not None:
        parts.append(wire.number(33, facts.signal))
    if facts.killed_by is not None:
        reason = next(number for number, name in _REASONS.items() if name is facts.killed_by)
        parts.append(wire.number(34, reason))
    if facts.start_error is not None:
        parts.append(wire.number(35, getattr(errno, facts.start_error)))
        parts.append(wire.field(36, (facts.start_step or "program").encode()))
    for tag, name in _MEASURED.items():
        measurement: Measurement | None = getattr(facts, name)
        if measurement is not None:
            parts.append(wire.field(tag, _encode_measurement(measurement)))
    return b"".join(parts)


def to_facts(payload: bytes, *, kernel: Source) -> Facts:
    """Decode EXIT; `kernel` is whose kernel the agent runs on, GUEST or HOST."""
    found = dict(wire.fields(payload))
    if (32 in found) == (33 in found):
        raise wire.violation("EXIT with neither or both of an exit code and a signal")
    start_errno = _number(found, 35, 1, 4095, "errno")
    return Facts(
        exit_code=_number(found, 32, 0, 255, "exit code"),
        signal=_number(found, 33, 1, 127, "signal"),
        killed_by=_REASONS.get(_number(found, 34, 1, 4, "reason") or 0),
        start_error=_errno_name(start_errno),
        start_step=None if start_errno is None or 36 not in found else _step(found[36]),
        wall_ns=_measurement(found, 37, kernel),
        cpu_ns=_measurement(found, 38, kernel),
        peak_memory_bytes=_measurement(found, 39, kernel),
        output_bytes=_measurement(found, 40, kernel),
        oom_kills=_measurement(found, 41, kernel),
    )


def _errno_name(number: int | None) -> str | None:
    return None if number is None else errno.errorcode.get(number, f"errno {number}")


def _step(value: bytes) -> str:
    return wire.to_text(value)[:16]


def _number(found: Mapping[int, bytes], tag: int, least: int, most: int, name: str) -> int | None:
    value = found.get(tag)
    if value is None:
        return None
    number = wire.to_number(value)
    if not least <= number <= most:
        raise wire.violation(f"{name} {number} in EXIT")
    return number


def _encode_measurement(measurement: Measurement) -> bytes:
    source = 1 if measurement.source is Source.AGENT else 2
    scope = 1 if measurement.scope is Scope.EXECUTION else 2
    return _MEASUREMENT.pack(measurement.value, source, scope)


def _measurement(found: Mapping[int, bytes], tag: int, kernel: Source) -> Measurement | None:
    value = found.get(tag)
    if value is None:
        return None
    if len(value) != _MEASUREMENT.size:
        raise wire.violation(f"a measurement of {len(value)} bytes")
    amount, source, scope = _MEASUREMENT.unpack(value)
    if amount >= _MOST or source not in (1, 2) or scope not in _SCOPES:
        raise wire.violation("a measurement that makes no sense")
    return Measurement(
        value=amount, source=Source.AGENT if source == 1 else kernel, scope=_SCOPES[scope]
    )
