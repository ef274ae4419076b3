"""One grading by a grader of the teacher's own: fill a sandbox, run it there, read what it said."""

from __future__ import annotations

import asyncio
import gzip
import io
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from assay.agent.entries import Entry, EntryKind
from assay.agent.execution import Completed
from assay.agent.files import put_files, read_file
from assay.agent.session import Session
from assay.domain.command import Command
from assay.domain.errors import FileError
from assay.domain.limits import MIB, ExecutionLimits
from assay.domain.outcome import Outcome, OutcomeKind
from assay.grading.joint import JointLimitReached
from assay.grading.places import Place
from assay.grading.results import Archive, archive_of
from assay.grading.script import folders
from assay.grading.script.journal import JOURNAL_MOST, Said, read_journal
from assay.grading.script.kit import (
    FOLDER,
    JOURNAL,
    PROGRAM,
    Answer,
    Kit,
    kit_entries,
    variables_with_kit,
)
from assay.grading.script.rooms import Room, Rooms
from assay.grading.script.students import Rules, Students

ARCHIVE_MOST: Final = 32 * MIB
_ARCHIVE: Final = "/archive"
_OUTPUT_MOST: Final = 16 * MIB
_SHOWN: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """A grader, and all that it is given."""

    argv: tuple[str, ...]
    environment: str
    kit: Kit
    answers: Mapping[str, Answer]
    places: Mapping[str, tuple[Entry, ...]]
    """By folder ("/task", "/course"): what is put there. Each is one that the sandbox may write."""
    students: Rules
    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    home: str = "/task"
    network: bool = False
    devices: bool = False
    owner: str = ""
    """In whose name sandboxes are taken."""
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How it went: what the grader said, and what is known without it."""

    said: Said
    outcome: Outcome
    stdout: bytes
    stderr: bytes
    archive: Archive | None
    lost: tuple[str, ...] = ()
    """Students' sandboxes that were lost, or could not be had."""
    faults: tuple[str, ...] = ()
    """What students' programs were to have and never can."""
    reached: JointLimitReached | None = None
    """A limit of grader and students together, which ended it."""
    students: int = 0
    """How many programs of students ran."""
    booting_seconds: float = 0.0
    grading_seconds: float = 0.0


async def run_script(rooms: Rooms, script: Script) -> Ended:
    """Run a grader to its end. Raises what may be otherwise another time, as `Rooms.room` does."""
    room = Room(
        environment=script.environment,
        memory_bytes=script.memory_bytes,
        files_bytes=sum(folders.size_of(each) for each in script.places.values()),
        working_folder=script.home,
        folders=tuple(
            sorted({FOLDER, _ARCHIVE, *(each for each in script.places if each != script.home)})
        ),
        network=script.network,
        devices=script.devices,
        owner=script.owner,
    )
    async with rooms.room(room) as place:
        began = time.perf_counter()
        await _fill(place, script)
        async with Students(place, rooms, script.students) as students:
            completed = await _until_over(place, script, students)
        said, archive = await _left(place.session, archive=completed.outcome.success)
        return Ended(
            said=said,
            outcome=completed.outcome,
            stdout=completed.stdout[:_SHOWN],
            stderr=completed.stderr[:_SHOWN],
            archive=archive,
            lost=(*students.lost, *_for_want_of_sandboxes(completed, script, students)),
            faults=tuple(students.faults),
            reached=students.limit_reached,
            students=max(0, students.count - 1),
            booting_seconds=place.waited_seconds + students.waited_seconds,
            grading_seconds=time.perf_counter() - began - students.waited_seconds,
        )


def _for_want_of_sandboxes(
    completed: Completed, script: Script, students: Students
) -> tuple[str, ...]:
    """It is nobody's fault that a grader took too long whose students had to wait (which takes no
    time of a processor)."""
    if (completed.outcome.kind, completed.outcome.clock) != (OutcomeKind.TIMED_OUT, "wall"):
        return ()
    words = students.crowd.has_cost(script.wall_seconds)
    return (words,) if words else ()


async def _until_over(place: Place, script: Script, students: Students) -> Completed:
    """Run the grader; it is ended when all of its grading together has taken too much."""
    command = _command(place, script)
    command = replace(command, limits=students.account.cut(command.limits))
    execution = await place.session.start(command)
    following = place.session.follow(execution, command, most=_OUTPUT_MOST)
    running = asyncio.create_task(following)
    try:
        await asyncio.wait((running, students.reached), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            execution.kill()
        completed = await running
    finally:
        running.cancel()
        await asyncio.wait((running,))
    students.grader_ended(completed.facts)
    return completed


async def _fill(place: Place, script: Script) -> None:
    agent, root = place.session.agent, place.blueprint.root
    puts = [put_files(agent, FOLDER, kit_entries(script.kit, script.answers))]
    puts += [put_files(agent, folder, entries) for folder, entries in script.places.items()]
    await asyncio.gather(*puts)
    install = Command(
        argv=(PROGRAM, "install"), working_directory="/", uid=root.user, gid=root.group
    )
    done = await place.session.run(install, most=MIB)
    if not done.outcome.success:
        words = done.stderr.decode(errors="replace").strip()
        raise FileError(f"the grading sandbox can't be furnished: {words}", reason="EIO")


def _command(place: Place, script: Script) -> Command:
    root = place.blueprint.root
    variables = {**place.blueprint.variables(), **script.variables}
    return Command(
        argv=script.argv,
        environment=variables_with_kit(variables, home=script.home),
        working_directory=script.home,
        uid=root.user,
        gid=root.group,
        limits=ExecutionLimits(
            cpu_seconds=script.cpu_seconds,
            wall_seconds=script.wall_seconds,
            output_bytes=_OUTPUT_MOST,
            open_files=1024,
        ),
    )


async def _said(session: Session) -> Said:
    try:
        journal = await read_file(session.agent, FOLDER, JOURNAL, most=JOURNAL_MOST)
    except FileError as error:
        return Said(faults=[f"the grader's feedback can't be read: {error.message}"])
    return await asyncio.to_thread(read_journal, journal)


async def _left(session: Session, *, archive: bool) -> tuple[Said, Archive | None]:
    """What it said, and the files that it keeps."""
    if not archive:
        return await _said(session), None
    said, kept = await asyncio.gather(_said(session), _kept(session))
    if isinstance(kept, str):
        said.faults.append(kept)
        return said, None
    return said, await asyncio.to_thread(lambda: archive_of(packed(kept))) if kept else None


async def _kept(session: Session) -> list[Entry] | str:
    """The files of its archive, or why they can't be had."""
    try:
        return await folders.take(session.agent, _ARCHIVE, most=ARCHIVE_MOST)
    except FileError as error:
        return f"the archive can't be kept: {error.message}"


def packed(entries: list[Entry]) -> bytes:
    """A tar, compressed with gzip: the same for the same files."""
    made = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=made, mode="wb", mtime=0, compresslevel=6) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for each in sorted(entries, key=lambda entry: entry.name):
            member = tarfile.TarInfo(each.name)
            member.mode = each.mode
            if each.kind is EntryKind.FOLDER:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                content = each.content or b""
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return made.getvalue()
