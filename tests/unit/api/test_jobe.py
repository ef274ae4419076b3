"""What a client of Jobe asks for, and what it is told: pure functions."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.api.jobe.languages import version_in
from assay.api.jobe.limits import OUTPUT_MOST, limits_of
from assay.api.jobe.result import Answer, Number, Source, answer_of, number_of, text_of
from assay.api.jobe.source import main_class, source_name
from assay.api.jobe.spec import RunSpec, run_spec
from assay.domain.errors import InvalidInput
from assay.domain.facts import Facts
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.domain.outcome import Outcome, OutcomeKind
from assay.environments import ServedEnvironment, StepKind, bundled_folder, load
from assay.runners import RunResult

OWN = SandboxLimits(memory_bytes=256 * MIB, processes=64, disk_bytes=64 * MIB)
ENDED = "the program was ended by"
TOO_MUCH = "the program wrote more than it may, and was ended\n"
LEAST = SandboxLimits(memory_bytes=32 * MIB, processes=8, disk_bytes=8 * MIB)
SERVED = ServedEnvironment(
    name="python",
    language="python",
    sandbox=OWN,
    ceiling=ExecutionLimits(
        wall_seconds=120, cpu_seconds=120, output_bytes=64 * MIB, open_files=None
    ),
)


def spec(**changes: Any) -> RunSpec:
    asked = {"language_id": "python3", "sourcecode": "1", **changes}
    return run_spec(json.dumps({"run_spec": asked}).encode())


# --- what is asked for ---------------------------------------------------------------------------


def test_what_coderunner_sends_is_understood() -> None:
    asked = spec(
        language_id="C",
        sourcefilename="__tester__.c",
        input="1\n",
        file_list=[["0123456789abcdef0123456789abcdef", "data.txt"], ["abcdefgh", "a-b_c.d", True]],
        parameters={"cputime": "3", "memorylimit": 200, "linkargs": ["-lm"], "numprocs": 50},
        jobeserver="jobe.example.org",
        debug=1,
    )
    assert (asked.language, asked.filename, asked.stdin) == ("c", "__tester__.c", b"1\n")
    assert [each.name for each in asked.files] == ["data.txt", "a-b_c.d"]
    given = asked.parameters
    assert (given.cpu_seconds, given.memory_mib, given.processes) == (3, 200, 50)
    assert given.lists == {"link_args": ("-lm",)}


@pytest.mark.parametrize("empty", [[], {}, None])
def test_what_php_writes_for_nothing_is_nothing(empty: Any) -> None:
    asked = spec(parameters=empty, file_list=empty, input=None)
    assert (asked.files, asked.stdin, asked.parameters.lists) == ((), b"", {})


def test_an_empty_list_of_arguments_is_not_none() -> None:
    assert spec(parameters={"compileargs": []}).parameters.lists == {"compile_args": ()}


def test_arguments_are_split_as_by_a_shell_that_does_nothing_else() -> None:
    asked = spec(parameters={"compileargs": ["-x c", "-D'N=\"a b\"'"], "runargs": "$(id) ; `x` *"})
    assert asked.parameters.lists["compile_args"] == ("-x", "c", '-DN="a b"')
    assert asked.parameters.run_args == ("$(id)", ";", "`x`", "*")


@pytest.mark.parametrize("value", ["x", "5; rm -rf /", True, [], {}, 0, -1, 1e30, None, "nan"])
def test_what_is_no_number_above_zero_is_no_limit(value: Any) -> None:
    assert spec(parameters={"cputime": value}).parameters.cpu_seconds is None


def test_a_java_source_called_as_of_old_has_no_name() -> None:
    assert spec(language_id="java", sourcefilename="prog.java").filename is None


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "/etc/passwd", ".hidden", "-o", "a;b", "a\nb", "a\0b", "$(id)", "x" * 300, "..",
     "a\u00a0b", 7, ["x"]],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(name: Any) -> None:
    with pytest.raises(InvalidInput, match="sourcefilename"):
        spec(sourcefilename=name)


@pytest.mark.parametrize(
    "listed",
    [["x"], [["abcdefgh"]], [["abcdefg", "x"]], [["abcdefgh", ".."]], [["abcdefgh", "a/b"]],
     [["../../etc", "x"]], [["abcdefgh", ""]], [["abcdéfgh", "x"]], [["a" * 129, "x"]],
     [["abcdefgh", "x y"]], [[["abcdefgh"], "x"]], [["abcdefgh\n", "x"]], "abcdefgh", {"a": "b"},
     [["abcdefgh", "x"]] * 201],
)  # fmt: skip
def test_files_with_odd_ids_or_names_are_refused(listed: Any) -> None:
    with pytest.raises(InvalidInput):
        spec(file_list=listed)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b"{}", b'{"run_spec": 3}', b'{"run_spec": {}}', b"\xff",
     b"[" * 100_000, b'{"run_spec": {"language_id": "c"}}',
     b'{"run_spec": {"language_id": [], "sourcecode": "x"}}',
     b'{"run_spec": {"language_id": "c", "sourcecode": "x", "parameters": 7}}',
     b'{"run_spec": {"language_id": "c", "sourcecode": "x", "parameters": {"runargs": "\\u0000"}}}',
     b'{"run_spec": {"language_id": "c", "sourcecode": "x", "parameters": {"runargs": ["\'"]}}}',
     b'{"run_spec": {"language_id": "c", "sourcecode": "x", "parameters": {"runargs": [[1]]}}}',
     b'{"run_spec": {"language_id": "c", "sourcecode": "x", "parameters": {"main_class": "-x"}}}',
     b'{"run_spec": {"language_id": "c", "sourcecode": "\\ud800"}}'],
)  # fmt: skip
def test_bodies_that_make_no_sense_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        run_spec(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=8,
)


PARAMETERS = [
    "cputime", "memorylimit", "disklimit", "streamsize", "numprocs", "compileargs", "linkargs",
    "interpreterargs", "runargs", "main_class",
]  # fmt: skip
ASKED = st.fixed_dictionaries(
    {"language_id": st.just("c"), "sourcecode": st.text(max_size=20)},
    optional={
        "sourcefilename": JSON,
        "input": JSON,
        "file_list": JSON,
        "debug": JSON,
        "parameters": st.dictionaries(st.sampled_from(PARAMETERS), JSON),
    },
)


@given(ASKED)
def test_any_json_is_understood_or_refused(asked: dict[str, Any]) -> None:
    try:
        made = run_spec(json.dumps({"run_spec": asked}).encode(errors="surrogatepass"))
    except InvalidInput:
        return
    try:
        limits = limits_of(made.parameters, SERVED, LEAST)
    except InvalidInput:
        return
    assert LEAST.memory_bytes <= limits.sandbox.memory_bytes <= OWN.memory_bytes
    assert limits.execution.cpu_seconds is not None
    assert limits.execution.cpu_seconds <= 120


# --- limits --------------------------------------------------------------------------------------


def limits(**parameters: Any) -> Any:
    return limits_of(spec(parameters=parameters).parameters, SERVED, LEAST)


def test_who_asks_for_nothing_gets_the_environments_own() -> None:
    made = limits()
    assert (made.sandbox, made.execution.cpu_seconds, made.cut) == (OWN, 10, {})


def test_wall_time_is_twice_the_processors_up_to_the_ceiling() -> None:
    assert (limits(cputime=3).execution.cpu_seconds, limits(cputime=3).execution.wall_seconds) == (
        3,
        6,
    )
    assert limits(cputime=100).execution.wall_seconds == 120


def test_more_time_than_the_ceiling_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at most 120 seconds"):
        limits(cputime=121)


def test_who_asks_for_more_than_there_is_gets_all_and_is_told() -> None:
    made = limits(memorylimit=500_000, disklimit=1000, numprocs=100, streamsize=100)
    assert made.sandbox == OWN
    assert made.output_bytes == OUTPUT_MOST
    assert made.cut == {"memorylimit": 256, "disklimit": 64, "numprocs": 64, "streamsize": 16}


@pytest.mark.parametrize(
    ("asked", "given"), [(256, 256), (200, 256), (128, 128), (100, 128), (40, 64), (1, 32)]
)
def test_less_memory_comes_in_halves_and_never_below_the_least(asked: int, given: int) -> None:
    made = limits(memorylimit=asked)
    assert made.sandbox.memory_bytes == given * MIB
    assert made.sandbox.disk_bytes <= max(made.sandbox.memory_bytes // 2, 32 * MIB)
    assert not made.cut


def test_clients_cannot_make_many_kinds_of_sandboxes() -> None:
    kinds = {
        limits(memorylimit=memory, disklimit=disk, numprocs=processes).sandbox
        for memory in range(1, 300, 7)
        for disk in range(1, 70, 3)
        for processes in range(1, 70, 3)
    }
    assert len(kinds) <= 64


def test_output_is_limited_as_asked() -> None:
    assert limits(streamsize=0.5).execution.output_bytes == MIB // 2


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (b"public class Foo { public static void main(String[] a) {} }", "Foo"),
        (b"// public class No\n/* public class No2 */ public final class Yes {}", "Yes"),
        (b'class A { String s = "public class No"; } public record R(int x) {}', "R"),
        (
            b"class Helper {} class Main { public static void main(String[] a) {} } class Z {}",
            "Main",
        ),
        (b"interface X {}", None),
        (b"", None),
        (b'"' * 10_000, None),
        (b"/*" * 500_000, None),
        (b'"""' * 333_333, None),
        (b"'" + b"\\'" * 500_000, None),
        (b'"' + b'\\"' * 500_000, None),
        (b'"""\n\\' * 200_000, None),
        (b"char c = 'x; class No {}\npublic class Yes {}", "Yes"),
        (b"public static " * 70_000, None),
    ],
)
def test_the_main_class_names_a_java_source(source: bytes, name: str | None) -> None:
    assert main_class(source) == name
    java = load(bundled_folder() / "java").jobe
    assert java is not None
    assert source_name(java, source) == f"{name or 'prog'}.java"


def test_other_sources_have_a_name_of_their_language() -> None:
    python = load(bundled_folder() / "python").jobe
    assert python is not None
    assert source_name(python, b"") == "prog.py"


def test_a_version_is_taken_out_of_what_the_tool_says() -> None:
    c = load(bundled_folder() / "c").jobe
    assert c is not None
    assert c.version is not None
    assert version_in(c.version.pattern, b"gcc (Debian 12.2.0-14) 12.2.0\nCopyright") == "12.2.0"
    assert version_in(c.version.pattern, b"nonsense\xff") == "unknown"


# --- results -------------------------------------------------------------------------------------


def answered(outcome: Outcome, *, step: StepKind = StepKind.RUN, stdout=b"", stderr=b"") -> Answer:
    result = RunResult(
        step=step, facts=Facts(exit_code=0), outcome=outcome, stdout=stdout, stderr=stderr
    )
    return answer_of("id", result, source=Source("/workspace", "prog.py"))


def test_every_kind_of_end_has_a_number() -> None:
    for kind in OutcomeKind:
        assert number_of(Outcome(kind=kind), stderr=False) in Number


@pytest.mark.parametrize(
    ("outcome", "stderr", "number", "said"),
    [
        (Outcome(kind=OutcomeKind.EXITED, code=0), b"", 15, ""),
        (Outcome(kind=OutcomeKind.EXITED, code=3), b"", 15, ""),
        (Outcome(kind=OutcomeKind.EXITED, code=0), b"x", 12, "x"),
        (Outcome(kind=OutcomeKind.SIGNALED, signal=11), b"", 12, ""),
        (Outcome(kind=OutcomeKind.SIGNALED, signal=6), b"", 12, f"{ENDED} signal 6\n"),
        (Outcome(kind=OutcomeKind.SIGNALED, signal=31), b"x", 19, ""),
        (Outcome(kind=OutcomeKind.TIMED_OUT, clock="cpu"), b"x", 13, ""),
        (Outcome(kind=OutcomeKind.OUT_OF_MEMORY), b"Killed", 17, ""),
        (Outcome(kind=OutcomeKind.OUTPUT_LIMIT), b"", 12, TOO_MUCH),
        (Outcome(kind=OutcomeKind.LOST, reason="gone"), b"", 20, "the program was lost: gone\n"),
    ],
)  # fmt: skip
def test_a_program_is_judged_by_its_end_and_its_standard_error(
    outcome: Outcome, stderr: bytes, number: int, said: str
) -> None:
    made = answered(outcome, stderr=stderr)
    assert (made.outcome, made.stderr, made.cmpinfo) == (number, said, "")


def test_what_a_compiler_says_is_never_nothing() -> None:
    failed = Outcome(kind=OutcomeKind.EXITED, code=1)
    made = answered(failed, step=StepKind.COMPILE)
    assert (made.outcome, made.cmpinfo) == (11, "the compiler ended with exited(1)\n")
    made = answered(failed, step=StepKind.COMPILE, stderr=b"/workspace/prog.py:1: bad")
    assert (made.outcome, made.cmpinfo, made.stderr) == (11, "prog.py:1: bad", "")


def test_a_lost_compiler_is_no_learners_fault() -> None:
    lost = Outcome(kind=OutcomeKind.LOST, reason="gone")
    assert answered(lost, step=StepKind.COMPILE).outcome == 20


@given(st.binary())
def test_any_output_becomes_text(data: bytes) -> None:
    text = text_of(data)
    text.encode()
    try:
        assert text == data.decode()
    except UnicodeDecodeError:
        assert text.isascii()


def test_odd_bytes_hold_nobody_up() -> None:
    started = time.process_time()
    assert text_of(b"\xff" * (1 << 22)) == r"\xff" * (1 << 22)
    assert time.process_time() - started < 1.5
