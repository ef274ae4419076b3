"""A student's program for each run_student: in a sandbox of its own, with the grader's streams.

One relay waits in the grading sandbox at any time; when somebody has come to it, the next one is
started. The folder that both sides share is copied there and back: what the program left counts, as
long as it is plain files and folders.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from assay.agent.client import NO_LIMITS
from assay.agent.entries import Entry, EntryKind
from assay.agent.execution import Execution
from assay.agent.files import put_files
from assay.agent.session import Session
from assay.agent.witness import surely
from assay.domain.command import Command
from assay.domain.errors import AssayError, FileError, InvalidInput, ProtocolViolation, TaskFault
from assay.domain.facts import Facts
from assay.domain.limits import MIB, ExecutionLimits
from assay.domain.outcome import Outcome, OutcomeKind
from assay.grading.joint import Account, JointLimitReached, JointLimits, Seats
from assay.grading.places import Place
from assay.grading.script import folders, frames
from assay.grading.script.crowd import Crowd
from assay.grading.script.kit import PROGRAM
from assay.grading.script.rooms import Room, Rooms
from assay.grading.script.spare import Spare

UNAVAILABLE: Final = 251
OUT_OF_MEMORY: Final = 252
TIMED_OUT: Final = 253
PROXY: Final = 254
_CREDIT: Final = 128 * 1024
_OUTPUT_MOST: Final = 64 * MIB
_FEW: Final = 2
"""Relays; a grader that has asked so often is likely to ask again."""
_NO_ROOM: Final = ("ENOSPC", "EDQUOT", "EFBIG", "E2BIG")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What students' programs get; a request may ask for less."""

    environment: str
    environments: Callable[[str], str]
    """The environment of a container's name. Raises UnknownEnvironment."""
    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    home: str = "/task"
    shared: str = "/task/student"
    """The folder that grader and student have in common."""
    common: str = "/course/common/student"
    common_entries: tuple[Entry, ...] = ()
    """What is there, for students to read."""
    folders: tuple[str, ...] = ("/course",)
    variables: Mapping[str, str] = field(default_factory=dict)
    expected: bool = False
    """Whether the grader surely asks: then a sandbox is made while it starts."""
    files_bytes: int = 0
    """Of what both sides share, at first."""
    devices: bool = False
    owner: str = ""
    """In whose name sandboxes are taken."""
    at_once: int = 8
    in_all: int = 1000
    """Programs; with more the grading is over, and the grader is to blame."""
    joint: JointLimits = field(default_factory=JointLimits)
    """Of the grader and all students together."""
    seats: Seats | None = None
    """Of all gradings, where sandboxes are few; one of them is taken for the students already."""


class Students:
    """Serves the run_student of one grading sandbox; a block, which ends all that still runs."""

    def __init__(self, grading: Place, rooms: Rooms, rules: Rules) -> None:
        self.lost: list[str] = []
        """Why sandboxes of students were lost, or could not be had: no fault of theirs."""
        self.faults: list[str] = []
        """What students' programs are to have and never can: the task's fault."""
        self.count = 0
        self.waited_seconds = 0.0
        self.crowd = Crowd(rules.seats)
        self._grading = grading
        self._rooms = rooms
        self._rules = rules
        began = time.monotonic()
        self.account = Account(rules.joint, rules.at_once, lambda: time.monotonic() - began)
        self.reached: asyncio.Future[JointLimitReached] = asyncio.get_running_loop().create_future()
        """A joint limit, once it is reached: the grading is over then."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Students:
        self._spare = Spare(self._rooms, self._usual(self._rules.files_bytes))
        if self._rules.expected:
            self._spare.make()
        try:
            await self._next_relay()
        except BaseException:  # then nobody leaves the block, and the spare one is there already
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        # Who is cancelled once more meanwhile leaves nothing: a worker that has lost its claim is
        # cancelled with every beat.
        await surely(self._end())

    async def _end(self) -> None:
        while tasks := [task for task in self._tasks if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await self._spare.aclose()

    def _reach(self, limit: JointLimitReached) -> None:
        if not self.reached.done():
            self.reached.set_result(limit)

    def grader_ended(self, facts: Facts) -> None:
        """What the grader itself has used is known now, and who used the larger part."""
        self.account.of_running = 0.0
        try:
            self.account.spend(facts.cpu_ns, by_learner=False)
        except JointLimitReached as limit:
            self._reach(limit)

    @property
    def limit_reached(self) -> JointLimitReached | None:
        """The joint limit that ended the grading; to blame is who has used more in the end."""
        if not self.reached.done():
            return None
        by_learner = self.account.is_learners and self.count <= self._rules.in_all
        return JointLimitReached(self.reached.result().what, by_learner=by_learner)

    def _usual(self, files_bytes: int) -> Room:
        rules = self._rules
        return Room(
            environment=rules.environment, memory_bytes=rules.memory_bytes,
            files_bytes=files_bytes, working_folder=rules.home, folders=rules.folders,
            devices=rules.devices, owner=rules.owner,
        )  # fmt: skip

    async def _next_relay(self) -> None:
        if self.count > self._rules.in_all:
            most = f"{self._rules.in_all} programs of students"
            self._reach(JointLimitReached(most, by_learner=False))
            return
        self.count += 1
        relay = await self._grading.session.start(
            Command(
                argv=(PROGRAM, "relay", str(self.count)), working_directory="/", stdin=True,
                uid=self._grading.blueprint.root.user, gid=self._grading.blueprint.root.group,
                limits=NO_LIMITS,
            )
        )  # fmt: skip
        task = asyncio.create_task(self._serve(relay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, relay: Execution) -> None:
        wire = frames.Wire(relay)
        try:
            with contextlib.suppress(AssayError):
                incoming = wire.frames()
                first = await anext(incoming, None)
                await self._next_relay()
                if first is None:
                    return
                status, words = await self._answer(first, incoming, wire)
                note = f"run_student: {words}\n" if words else ""
                await wire.send("X", bytes([status]) + note.encode(errors="replace")[:4096])
                await relay.end_input()
                await relay.wait()
        finally:
            relay.abandon()

    async def _answer(
        self, first: frames.Frame, incoming: AsyncIterator[frames.Frame], wire: frames.Wire
    ) -> tuple[int, str]:
        try:
            if first.type != "Q":
                raise InvalidInput("a request was expected")
            request = frames.to_request(first.payload)
            if request.shares_network:
                return UNAVAILABLE, "--share-network: students' sandboxes have no network"
            environment = (
                self._rules.environments(request.container)
                if request.container
                else self._rules.environment
            )
        except InvalidInput as error:
            return PROXY, error.message
        memory = request.memory_mb * MIB or self._rules.memory_bytes
        memory = min(memory, self._rules.memory_bytes)
        try:
            async with self.account.sandboxes(1, memory), contextlib.AsyncExitStack() as taken:
                return await self._run(request, environment, incoming, wire, taken)
        except JointLimitReached as limit:
            self._reach(limit)
            return PROXY, f"all programs of this grading together took {limit.what}"
        except TaskFault:
            self.faults.append(self._too_much(memory))
            return PROXY, self.faults[-1]
        except FileError as error:
            if error.reason in _NO_ROOM:
                return OUT_OF_MEMORY, f"the files of the student's sandbox: {error.message}"
            return PROXY, error.message
        except AssayError as error:
            self.lost.append(error.message)
            return PROXY, error.message

    def _too_much(self, memory: int) -> str:
        most = self._rules.joint.memory_bytes
        return (
            f"a student's program is to have {memory // MIB} MiB of memory, and all programs of a"
            f" grading together may have {most // MIB} MiB"
        )

    async def _know_the_graders_time(self) -> None:
        """So much of the processor has the grader had, which still runs."""
        session = self._grading.session
        with contextlib.suppress(AssayError):
            state = await session.driver.examine(session.sandbox.id)
            if state is not None and state.cpu_ns is not None:
                self.account.of_running = state.cpu_ns / 1e9

    async def _run(
        self,
        request: frames.Request,
        environment: str,
        incoming: AsyncIterator[frames.Frame],
        wire: frames.Wire,
        taken: contextlib.AsyncExitStack,
    ) -> tuple[int, str]:
        rules, grader = self._rules, self._grading.session.agent
        asked = request.memory_mb * MIB or rules.memory_bytes
        brought = await folders.take(grader, rules.shared)
        size = folders.size_of(brought) + folders.size_of(rules.common_entries)
        room = replace(
            self._usual(size), environment=environment,
            memory_bytes=min(asked, rules.memory_bytes),
        )  # fmt: skip
        await taken.enter_async_context(self.crowd.seat())
        place = await taken.enter_async_context(self._spare.room(room))
        if self.count > _FEW and self.crowd.is_more_left:
            self._spare.make()
        self.waited_seconds += place.waited_seconds
        session = place.session
        await self._fill(session, brought)
        before = await folders.known_of(session.agent, rules.shared)
        command = self._command(place, request)
        await self._know_the_graders_time()
        command = replace(command, limits=self.account.cut(command.limits))
        facts, outcome = await _carried(session, command, incoming, wire)
        await self._know_the_graders_time()
        self.account.spend(facts.cpu_ns, by_learner=True)
        if request.teardown and outcome.kind is not OutcomeKind.LOST:
            await session.run(replace(command, argv=request.teardown, stdin=False), most=MIB)
        if outcome.kind is OutcomeKind.LOST:
            self.lost.append(outcome.reason or "a student's sandbox was lost")
            return PROXY, "the student's sandbox was lost"
        found = folders.changes(before, await folders.known_of(session.agent, rules.shared))
        left = []
        if found.changed:
            most = max(64 * MIB, place.blueprint.environment.sandbox.disk_bytes)
            left = await folders.take(session.agent, rules.shared, only=found.changed, most=most)
        await folders.bring(grader, rules.shared, found, left)
        return status_of(outcome)

    async def _fill(self, session: Session, brought: list[Entry]) -> None:
        rules = self._rules
        shared = rules.shared.removeprefix(f"{rules.home}/")
        inside = [replace(each, name=f"{shared}/{each.name}") for each in brought]
        top = Entry(name=shared, kind=EntryKind.FOLDER, mode=0o755)
        puts = [put_files(session.agent, rules.home, [top, *inside])]
        if rules.common_entries:
            above, _, rest = rules.common.lstrip("/").partition("/")
            named = [replace(each, name=f"{rest}/{each.name}") for each in rules.common_entries]
            puts.append(put_files(session.agent, f"/{above}", named))
        await asyncio.gather(*puts)

    def _command(self, place: Place, request: frames.Request) -> Command:
        rules, root = self._rules, place.blueprint.root
        limits = ExecutionLimits(
            cpu_seconds=min(request.time_seconds or rules.cpu_seconds, rules.cpu_seconds),
            wall_seconds=min(request.hard_seconds or rules.wall_seconds, rules.wall_seconds),
            output_bytes=_OUTPUT_MOST,
            open_files=1024,
        )
        variables = {**place.blueprint.variables(), **rules.variables, "HOME": rules.home}
        return Command(
            argv=request.argv, environment=variables, working_directory=request.folder,
            uid=root.user, gid=root.group, stdin=True, limits=limits,
        )  # fmt: skip


def status_of(outcome: Outcome) -> tuple[int, str]:
    """The exit status of run_student, and what it says besides."""
    match outcome.kind:
        case OutcomeKind.EXITED:
            return (outcome.code or 0) & 255, ""
        case OutcomeKind.SIGNALED:
            return 256 - (outcome.signal or 0), ""
        case OutcomeKind.OUT_OF_MEMORY:
            return OUT_OF_MEMORY, ""
        case OutcomeKind.OUTPUT_LIMIT:
            return OUT_OF_MEMORY, f"more than {_OUTPUT_MOST // MIB} MiB of output"
        case OutcomeKind.TIMED_OUT:
            return TIMED_OUT, ""
    return PROXY, f"the program was {outcome}"


async def _carried(
    session: Session,
    command: Command,
    incoming: AsyncIterator[frames.Frame],
    wire: frames.Wire,
) -> tuple[Facts, Outcome]:
    """Run it with the client's streams; a client that goes away ends it."""
    program = await session.start(command)
    feeding = asyncio.create_task(_feed(program, incoming, wire))
    try:
        with contextlib.suppress(AssayError):
            await wire.send("C", _CREDIT.to_bytes(4, "little"))
            async for chunk in program.output():
                await wire.send("O" if chunk.stream == "stdout" else "e", chunk.data)
        return await session.conclude(program, command)
    finally:
        feeding.cancel()
        await asyncio.wait((feeding,))
        program.abandon()


async def _feed(
    program: Execution, incoming: AsyncIterator[frames.Frame], wire: frames.Wire
) -> None:
    """What the client sends, to the program. Signals don't wait for input that nobody reads."""
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    allowed = [_CREDIT]
    writing = asyncio.create_task(_write(program, pieces, wire, allowed))
    try:
        async for each in incoming:
            if each.type == "S" and each.payload:
                with contextlib.suppress(InvalidInput):
                    await program.signal(each.payload[0])
            elif each.type == "I":
                allowed[0] -= len(each.payload)
                if allowed[0] < 0:
                    raise ProtocolViolation("run_student sends more input than it may")
                pieces.put_nowait(each.payload)
            elif each.type == "E":
                pieces.put_nowait(None)
        program.kill()
    except AssayError:
        program.kill()
    finally:
        writing.cancel()
        await asyncio.wait((writing,))


async def _write(
    program: Execution,
    pieces: asyncio.Queue[bytes | None],
    wire: frames.Wire,
    allowed: list[int],
) -> None:
    with contextlib.suppress(AssayError):
        while (piece := await pieces.get()) is not None:
            await program.write(piece)
            allowed[0] += len(piece)
            await wire.send("C", len(piece).to_bytes(4, "little"))
        await program.end_input()
