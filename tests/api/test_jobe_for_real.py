"""CodeRunner's whole exchange with a whole server, whose sandboxes are real ones."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from types import MappingProxyType

import aiohttp
import pytest
import pytest_asyncio
from code_runner import CodeRunner
from left_over import assert_nothing_left

from assay.bootstrap.server import Server, running_server
from assay.config import Settings
from assay.config.options import Address
from assay.config.server import ConfiguredEnvironment, ServerSettings
from assay.environments import bundled_folder, load

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROGRAMS = {"c": "gcc", "cpp": "g++", "java": "javac", "php": "php", "javascript": "node"}
OTHERS = tuple(name for name in ("bash", "ruby") if shutil.which(name))
INSTALLED = tuple(name for name, program in PROGRAMS.items() if shutil.which(program))
NAMES = ("python", *INSTALLED, *OTHERS)
C_HELLO = '#include <stdio.h>\nint main(void) { puts("Hello"); return 0; }\n'


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(name not in NAMES, reason=f"{PROGRAMS[name]} is not installed")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    if os.geteuid() != 0:
        reason = "needs root"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    state = tmp_path_factory.mktemp("jobe")
    settings = ServerSettings(
        base=Settings(state=state / "state", images=state / "images", driver="lean"),
        listen=Address(host="127.0.0.1", port=0),
        database=f"sqlite:///{state / 'server.db'}",
        allow_host_images=True,
        destroy_on_exit=True,
        drain_seconds=1.0,
        environments=MappingProxyType(
            {name: ConfiguredEnvironment(language=name, pool_size=1) for name in NAMES}
        ),
    )
    async with running_server(settings) as server:
        yield server
    assert_nothing_left(state)


@pytest_asyncio.fixture(loop_scope="module")
async def moodle(server: Server) -> AsyncIterator[CodeRunner]:
    async with aiohttp.ClientSession() as session:
        yield CodeRunner(session, server.url)


async def test_an_administrator_sees_the_languages(moodle: CodeRunner) -> None:
    assert {"python3", *(name for name in NAMES if name != "javascript")} <= set(
        await moodle.languages()
    )


@needs("c")
async def test_a_c_program_runs(moodle: CodeRunner) -> None:
    verdict = await moodle.execute(C_HELLO, "C", parameters={"linkargs": ["-lm"]})
    assert (verdict.error, verdict.result, verdict.output) == (None, 15, "Hello\n")


@needs("c")
async def test_a_warning_of_the_compiler_is_an_error(moodle: CodeRunner) -> None:
    source = "int main(void) { int unused; return 0; }"
    verdict = await moodle.execute(source, "c", parameters={})
    assert verdict.result == 11
    assert "[-Werror=unused-variable]" in verdict.cmpinfo
    verdict = await moodle.execute(source, "c", parameters={"compileargs": ["-Wall"]})
    assert verdict.result == 11  # whatever a compiler says
    verdict = await moodle.execute(source, "c", parameters={"compileargs": ["-std=c99 -w"]})
    assert verdict.result == 15


@needs("c")
async def test_arguments_reach_compiler_linker_and_program(moodle: CodeRunner) -> None:
    source = """
#include <math.h>
#include <stdio.h>
int main(int n, char **args) { printf("%s %.1f %s\\n", NAME, sqrt(n * n), args[1]); return 0; }
"""
    parameters = {
        "compileargs": ["-D'NAME=\"a b\"'"], "linkargs": ["-lm"], "runargs": ["'one two'"],
    }  # fmt: skip
    verdict = await moodle.execute(source, "c", parameters=parameters)
    assert (verdict.result, verdict.output) == (15, "a b 2.0 one two\n")


@needs("c")
async def test_arguments_that_write_elsewhere_write_into_the_sandbox(moodle: CodeRunner) -> None:
    for hostile in ("-o /etc/passwd", "@/etc/shadow", "-fplugin=/tmp/x.so", "-wrapper sh,-c,id"):
        verdict = await moodle.execute(C_HELLO, "c", parameters={"compileargs": [hostile]})
        assert verdict.error is None
        assert "uid=0" not in verdict.output + verdict.cmpinfo


@needs("c")
@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("*(volatile int *) 0 = 1;", 12),
        ("for (;;) ;", 13),
        ("return 3;", 15),
        ("raise(SIGSYS);", 19),
        ("fputs(\"oops\", stderr);", 12),
        ("for (;;) memset(malloc(1 << 20), 1, 1 << 20);", 17),
        ("for (;;) puts(\"much\");", 12),
        ("nonsense", 11),
    ],
)  # fmt: skip
async def test_every_end_has_jobes_number(moodle: CodeRunner, body: str, result: int) -> None:
    include = "".join(f"#include <{each}.h>\n" for each in ("signal", "stdio", "stdlib", "string"))
    source = f"{include}int main(void) {{ {body}; return 0; }}\n"
    parameters = {"cputime": 1, "compileargs": ["-std=gnu17 -O1"]}
    verdict = await moodle.execute(source, "c", parameters=parameters)
    assert (verdict.error, verdict.result) == (None, result)


async def test_a_python_reads_its_input(moodle: CodeRunner) -> None:
    verdict = await moodle.execute("print(input() * 2)", "python3", "ab")
    assert (verdict.result, verdict.output) == (15, "abab\n")


async def test_a_python_that_cannot_be_read_has_a_compile_error(moodle: CodeRunner) -> None:
    verdict = await moodle.execute("print('x'\n", "python3")
    assert verdict.result == 11
    assert 'File "__tester__.python3", line 1' in verdict.cmpinfo
    verdict = await moodle.execute("1 / 0", "python3")
    assert verdict.result == 12
    assert "ZeroDivisionError" in verdict.stderr


async def test_the_python_that_waits_runs_what_coderunner_sends(moodle: CodeRunner) -> None:
    source = "import inspect; print(len(inspect.stack()))"  # it has one frame more
    for _ in range(50):
        verdict = await moodle.execute(source, "python3")
        assert (verdict.result, verdict.stderr) == (15, "")
        if verdict.output == "2\n":
            return
        await asyncio.sleep(0.2)  # the next sandbox, and its Python
    pytest.fail("none of the programs was run by the Python that waits")


async def test_files_are_sent_once_and_found_again(moodle: CodeRunner) -> None:
    files = {"data.txt": b"content\n", "helper.py": b"word = 'helped'\n"}
    source = "import helper; print(open('data.txt').read(), helper.word)"
    verdict = await moodle.execute(source, "python3", files=files)
    assert (verdict.error, verdict.output) == (None, "content\n helped\n")
    assert moodle.sent == ["POST runs", "PUT files", "PUT files", "POST runs"]
    moodle.sent.clear()
    verdict = await moodle.execute(source, "python3", files=files)
    assert verdict.result == 15
    assert moodle.sent == ["POST runs"]


async def test_less_memory_is_less_memory(moodle: CodeRunner) -> None:
    source = "print(len(bytearray(150_000_000)))"
    assert (await moodle.execute(source, "python3")).result == 15
    verdict = await moodle.execute(source, "python3", parameters={"memorylimit": 100})
    assert verdict.result == 17
    verdict = await moodle.execute(source, "python3", parameters={"memorylimit": 16_000})
    assert verdict.result == 15


async def test_fewer_processes_are_fewer_processes(moodle: CodeRunner) -> None:
    source = "import os\nfor _ in range(40):\n    if not os.fork(): import time; time.sleep(9)\n"
    verdict = await moodle.execute(source, "python3", parameters={"numprocs": 10})
    assert verdict.result == 12
    assert "BlockingIOError" in verdict.stderr


async def test_waiting_has_an_end(moodle: CodeRunner) -> None:
    source = "import time; time.sleep(60)"
    verdict = await moodle.execute(source, "python3", parameters={"cputime": "1"})
    assert verdict.result == 13


@needs("cpp")
async def test_a_cpp_program_runs(moodle: CodeRunner) -> None:
    source = '#include <iostream>\nint main() { std::cout << "Hello\\n"; }\n'
    verdict = await moodle.execute(source, "cpp", parameters={"linkargs": ["-lm"]})
    assert (verdict.result, verdict.output) == (15, "Hello\n")


@needs("java")
async def test_a_java_program_runs_under_the_name_of_its_class(moodle: CodeRunner) -> None:
    source = (
        'public class Hi { public static void main(String[] a) { System.out.print("Hello"); } }'
    )
    for name in ("Hi.java", "prog.java"):
        verdict = await moodle.execute(source, "Java", parameters={"memorylimit": 2000}, name=name)
        assert (verdict.error, verdict.result, verdict.output) == (None, 15, "Hello")


@needs("php")
async def test_a_php_program_runs(moodle: CodeRunner) -> None:
    parameters = {"memorylimit": 500_000}
    verdict = await moodle.execute("<?php echo 'Hello';", "php", parameters=parameters)
    assert (verdict.result, verdict.output) == (15, "Hello")
    assert (await moodle.execute("<?php echo 'Hello", "php")).result == 11


@needs("javascript")
async def test_a_node_program_runs(moodle: CodeRunner) -> None:
    parameters = {"memorylimit": 1000, "sourcefilename": "__tester__.js"}
    verdict = await moodle.execute("console.log('Hello')", "nodejs", parameters=parameters)
    assert (verdict.result, verdict.output) == (15, "Hello\n")


@pytest.mark.parametrize("name", OTHERS)
async def test_a_hello_of_each_other_language_runs(moodle: CodeRunner, name: str) -> None:
    hello = load(bundled_folder() / name).hello.source
    verdict = await moodle.execute(hello.read_text(), name, name=hello.name)
    assert (verdict.error, verdict.result, verdict.output) == (None, 15, "Hello, world!\n")


async def test_a_language_that_is_not_here_is_an_error(moodle: CodeRunner) -> None:
    assert (await moodle.execute("x", "octave")).error == 400
