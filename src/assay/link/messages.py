"""What is said on the link, as values; each is a frame of JSON.

The version is the first thing that either side says, and the only thing that is read of a Hello of
another one. Within a version fields may be added: unknown ones are passed over.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from assay.domain.errors import (
    AssayError,
    CapabilityMissing,
    CapacityExceeded,
    ConnectionLost,
    CreateTimeout,
    DeviceUnavailable,
    DiskFull,
    Draining,
    DriverError,
    DriverUnavailable,
    InvalidImage,
    InvalidInput,
    NotFound,
    ProtocolViolation,
    RuntimeFailed,
    RuntimeMissing,
    SandboxGone,
    Unauthenticated,
    Unavailable,
)
from assay.driver.port import SandboxState

VERSION: Final = 1
MOST_REQUEST: Final = 256 * 1024
"""Bytes of a frame from a server. An image's variables are the longest part of one."""
MOST_ANSWER: Final = 8 * 1024 * 1024
"""Bytes of a frame from a node: a list of 200,000 sandboxes fits."""
MOST_PIECE: Final = 1024 * 1024
"""Bytes of a piece of a root's archive."""
PING_SECONDS: Final = 1.0
"""How often a server asks each node how it is."""
SILENT_SECONDS: Final = 4.0
"""Without a byte from the other side, a connection for requests is given up."""

Id = Annotated[str, Meta(max_length=64, pattern="^[A-Za-z0-9-]+$")]
Ticket = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
"""By which a server knows what it has asked a node to make, whatever the answer was."""
Claim = Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
_Text = Annotated[str, Meta(max_length=4096)]
_Long = Annotated[str, Meta(max_length=65536)]
_Number = Annotated[int, Meta(ge=0, le=2**62)]
_User = Annotated[int, Meta(ge=0, le=2**31)]


class RootMissing(NotFound):
    """The node does not have this root file system; it is to be sent."""

    code = "root_missing"


# --- the beginning of a connection --------------------------------------------------------------


class Control(Struct, frozen=True, kw_only=True, tag="control"):
    """For requests."""


class Stream(Struct, frozen=True, kw_only=True, tag="stream"):
    """For the bytes of a sandbox's agent."""

    sandbox: Id
    epoch: _Number = 0
    """The server's: whoever comes with a lower one later, has it no more."""


class Root(Struct, frozen=True, kw_only=True, tag="root"):
    """For a root file system: an archive (tar) in frames, the empty one is the last but one; then
    comes one with the SHA-256 of all, and Done or Failed is the answer.
    """

    name: Ticket


class Hello(Struct, frozen=True, kw_only=True, tag="hello"):
    """The first frame, from the server."""

    version: int
    scope: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    """Which of a name's servers it is: they don't see one another's sandboxes."""
    claim: Claim = ""
    """What servers that have their sandboxes in common know, in place of name and scope."""
    purpose: Control | Stream | Root


class Status(Struct, frozen=True, kw_only=True):
    """How a node stands at a moment."""

    sandboxes: _Number
    """Of all servers."""
    most: _Number
    """As many as it takes."""
    stock: _Number
    """Prepared sandboxes that wait to become anybody's."""
    load: Annotated[float, Meta(ge=0, le=1e9)]
    """Programs that want a processor, by processors."""
    draining: bool = False
    """It takes no new sandboxes, and idle ones should go elsewhere."""


class Facts(Struct, frozen=True, kw_only=True):
    """What does not change while a node runs."""

    driver: _Text
    capabilities: dict[_Text, bool | int | _Text]
    """Of the driver, by the names of the port's `Capabilities`."""
    host: _Text
    """The digest of its own programs (the image `host`)."""
    machine: _Text
    """The same for all that have one kernel and see the same processes."""
    release: _Text
    """The version of Assay."""


class Welcome(Struct, frozen=True, kw_only=True, tag="welcome"):
    """The answer to a Hello; what the connection is for begins after it."""

    version: int
    facts: Facts | None = None
    """For who asks requests."""
    status: Status | None = None


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """An answer: it could not be done."""

    code: _Text
    message: _Text
    detail: _Text = ""
    number: _Number = 0


# --- requests -------------------------------------------------------------------------------------


class Limits(Struct, frozen=True, kw_only=True):
    """`SandboxLimits`."""

    memory_bytes: _Number
    processes: _Number
    cpus: Annotated[float, Meta(gt=0, le=1e6)]
    disk_bytes: _Number
    inodes: _Number


class Wish(Struct, frozen=True, kw_only=True):
    """`SandboxSpec`, but for its root's place, which is the node's own affair."""

    root: Ticket | None
    """The name of a root that was sent; None: the node's own programs."""
    variables: Annotated[dict[_Text, _Long], Meta(max_length=1024)]
    user: _User
    group: _User
    working_folder: _Text
    folders: Annotated[tuple[_Text, ...], Meta(max_length=16)] = ()
    owners: bool
    secret: Annotated[bytes, Meta(min_length=32, max_length=32)]
    limits: Limits
    network: bool
    devices: Annotated[tuple[_Text, ...], Meta(max_length=64)]
    unclaimed_seconds: Annotated[int, Meta(ge=1, le=10**8)]
    labels: Annotated[dict[_Text, _Text], Meta(max_length=64)]


class Ping(Struct, frozen=True, kw_only=True, tag="ping"):
    """How are you? Pong is the answer."""

    number: _Number


class Create(Struct, frozen=True, kw_only=True, tag="create"):
    """Make a sandbox. Created is the answer."""

    number: _Number
    ticket: Ticket
    wish: Wish
    epoch: _Number = 0


class Undo(Struct, frozen=True, kw_only=True, tag="undo"):
    """Stop making what was asked for with this ticket, or destroy it. Done is the answer."""

    number: _Number
    ticket: Ticket


class Listing(Struct, frozen=True, kw_only=True, tag="list"):
    """Which sandboxes of mine are there? Listed is the answer."""

    number: _Number


class Examine(Struct, frozen=True, kw_only=True, tag="examine"):
    """What is known of a sandbox? Examined is the answer."""

    number: _Number
    sandbox: Id


class Destroy(Struct, frozen=True, kw_only=True, tag="destroy"):
    """End a sandbox. Done is the answer, for one that is not there, too."""

    number: _Number
    sandbox: Id
    epoch: _Number = 0
    """The server's: what a higher one has, it can't end."""


Request = Ping | Create | Undo | Listing | Examine | Destroy


class Pong(Struct, frozen=True, kw_only=True, tag="pong"):
    """An answer: how the node stands."""

    number: _Number
    status: Status


class Created(Struct, frozen=True, kw_only=True, tag="created"):
    """An answer: it is there."""

    number: _Number
    sandbox: Id
    facts: Annotated[dict[_Text, _Text], Meta(max_length=64)]


class Listed(Struct, frozen=True, kw_only=True, tag="listed"):
    """An answer: these are there."""

    number: _Number
    sandboxes: tuple[Id, ...]


class Examined(Struct, frozen=True, kw_only=True, tag="examined"):
    """An answer: this is known; None: there is no such sandbox."""

    number: _Number
    state: SandboxState | None


class Done(Struct, frozen=True, kw_only=True, tag="done"):
    """An answer: it is done."""

    number: _Number = 0


Answer = Pong | Created | Listed | Examined | Done | Failed


# --- bytes ----------------------------------------------------------------------------------------

T = TypeVar("T")


class _Version(Struct, frozen=True):
    version: int


def encode(message: Any) -> bytes:
    """The bytes of a message."""
    return msgspec.json.encode(message)


def decode(content: bytes, kind: Any) -> Any:
    """The message of one of these kinds. Raises ProtocolViolation."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ProtocolViolation("that is no message of the link", detail=str(error)[:200]) from None


def decode_first(content: bytes, kind: Any) -> Any:
    """The same of a Hello, or a Welcome or Failed: another version is said so.

    Raises ProtocolViolation, Unavailable for another version.
    """
    try:
        said = msgspec.json.decode(content, type=_Version).version
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        said = VERSION  # a Failed has none
    if said != VERSION:
        raise Unavailable(
            f"the other side speaks version {said} of the link, and this one {VERSION}: have the"
            " same release of Assay on the server and on its nodes"
        )
    return decode(content, kind)


_ERRORS: Final = {
    each.code: each
    for each in (
        CapabilityMissing, CapacityExceeded, ConnectionLost, CreateTimeout, DeviceUnavailable,
        DiskFull, Draining, DriverError, DriverUnavailable, InvalidImage, InvalidInput,
        RootMissing, RuntimeFailed, RuntimeMissing, SandboxGone, Unauthenticated, Unavailable,
    )
}  # fmt: skip
_LONGEST: Final = 4000


def failed(error: AssayError, number: int = 0) -> Failed:
    """An error, to be told."""
    return Failed(
        code=error.code,
        message=error.message[:_LONGEST],
        detail=error.detail[:_LONGEST],
        number=number,
    )


def raised(said: Failed) -> AssayError:
    """The error that the other side tells of; DriverError for what is none of a driver's."""
    return _ERRORS.get(said.code, DriverError)(said.message, detail=said.detail)
