"""Keep archives apart from results, and beside a submission what its result comes to."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_SUBMISSION = sa.table(
    "submission",
    sa.column("id", sa.Text),
    sa.column("revision", sa.Integer),
    sa.column("verdict", sa.Text),
    sa.column("grade", sa.Double),
    sa.column("version", sa.Text),
)
_RESULT = sa.table(
    "submission_result", sa.column("id", sa.Text), sa.column("result", sa.LargeBinary)
)
_FORMER = sa.table(
    "former_result",
    sa.column("submission", sa.Text),
    sa.column("revision", sa.Integer),
    sa.column("result", sa.LargeBinary),
)
_ARCHIVE = sa.table(
    "result_archive",
    sa.column("submission", sa.Text),
    sa.column("revision", sa.Integer),
    sa.column("content", sa.LargeBinary),
)


class _Worth(NamedTuple):
    """What is moved beside the submission."""

    verdict: str | None = None
    grade: float | None = None
    version: str | None = None
    archive: bytes | None = None


def upgrade() -> None:
    """Make the table and the columns, and move there what is in results."""
    op.create_table(
        "result_archive",
        sa.Column("submission", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("submission", "revision", name="pk_result_archive"),
    )
    for name, kind in (("verdict", sa.Text), ("grade", sa.Double), ("version", sa.Text)):
        op.add_column("submission", sa.Column(name, kind))
    bind = op.get_bind()
    for name, nth, result in _results(bind):
        worth = _worth(result)
        bind.execute(sa.update(_SUBMISSION).where(_SUBMISSION.c.id == name).values(
            verdict=worth.verdict, grade=worth.grade, version=worth.version,
        ))  # fmt: skip
        if worth.archive is not None:
            bare = _without(result, worth.archive)
            bind.execute(sa.update(_RESULT).where(_RESULT.c.id == name).values(result=bare))
            _keep(bind, name, nth, worth.archive)
    for name, nth, result in _former(bind):
        if (archive := _worth(result).archive) is not None:
            _replace_former(bind, name, nth, _without(result, archive))
            _keep(bind, name, nth, archive)


def downgrade() -> None:
    """Put archives back into their results, and remove the table and the columns."""
    bind = op.get_bind()
    for name, nth, result in _results(bind):
        if (archive := _archive_of(bind, name, nth)) is not None:
            whole = _with(result, archive)
            bind.execute(sa.update(_RESULT).where(_RESULT.c.id == name).values(result=whole))
    for name, nth, result in _former(bind):
        if (archive := _archive_of(bind, name, nth)) is not None:
            _replace_former(bind, name, nth, _with(result, archive))
    for column in ("version", "grade", "verdict"):
        op.drop_column("submission", column)
    op.drop_table("result_archive")


def _results(bind: sa.Connection) -> Iterator[tuple[str, int, bytes]]:
    """One at a time: one alone may have tens of MiB."""
    joined = _RESULT.join(_SUBMISSION, _SUBMISSION.c.id == _RESULT.c.id)
    asked = sa.select(_RESULT.c.id, _SUBMISSION.c.revision).select_from(joined)
    for name, nth in bind.execute(asked).all():
        one = sa.select(_RESULT.c.result).where(_RESULT.c.id == name)
        yield name, nth, bytes(bind.execute(one).scalar_one())


def _former(bind: sa.Connection) -> Iterator[tuple[str, int, bytes]]:
    for name, nth in bind.execute(sa.select(_FORMER.c.submission, _FORMER.c.revision)).all():
        one = sa.select(_FORMER.c.result).where(*_is(_FORMER, name, nth))
        yield name, nth, bytes(bind.execute(one).scalar_one())


def _is(table: sa.TableClause, name: str, nth: int) -> tuple[Any, Any]:
    return table.c.submission == name, table.c.revision == nth


def _replace_former(bind: sa.Connection, name: str, nth: int, result: bytes) -> None:
    bind.execute(sa.update(_FORMER).where(*_is(_FORMER, name, nth)).values(result=result))


def _keep(bind: sa.Connection, name: str, nth: int, content: bytes) -> None:
    values = {"submission": name, "revision": nth, "content": content}
    bind.execute(sa.insert(_ARCHIVE).values(values))


def _archive_of(bind: sa.Connection, name: str, nth: int) -> bytes | None:
    asked = sa.select(_ARCHIVE.c.content).where(*_is(_ARCHIVE, name, nth))
    found = bind.execute(asked).scalar()
    return None if found is None else bytes(found)


def _worth(result: bytes) -> _Worth:
    try:
        known = msgspec.json.decode(result, type=dict[str, msgspec.Raw])

        def value(name: str, kind: Any) -> Any:
            return msgspec.json.decode(known.get(name, b"null"), type=kind | None)

        record = value("record", dict[str, Any]) or {}
        return _Worth(
            verdict=value("verdict", str), grade=value("grade", float),
            version=record.get("digest") or None, archive=value("archive", bytes),
        )  # fmt: skip
    except msgspec.MsgspecError:  # nothing of ours; it stays as it is
        return _Worth()


def _without(result: bytes, archive: bytes) -> bytes:
    digest = f"sha256:{hashlib.sha256(archive).hexdigest()}"
    return _changed(result, {"size": len(archive), "digest": digest, "content": None})


def _with(result: bytes, archive: bytes) -> bytes:
    return _changed(result, base64.b64encode(archive).decode())


def _changed(result: bytes, archive: object) -> bytes:
    """The same with another archive; all else stays, byte by byte."""
    known = msgspec.json.decode(result, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**known, "archive": msgspec.Raw(msgspec.json.encode(archive))})
