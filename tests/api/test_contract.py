"""What CodeOcean relies on, as Poseidon's own end-to-end suite asks for it: on real sandboxes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil

import aiohttp
import pytest
from poseidon_client import ENVIRONMENT, POSEIDONS, PoseidonClient, collect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
]


# --- runners --------------------------------------------------------------------------------------


async def test_a_runner_is_provided_and_deleted_once(client: PoseidonClient) -> None:
    async with client.session.post(
        "runners", json={"executionEnvironmentId": ENVIRONMENT, "inactivityTimeout": 180}
    ) as answer:
        body = await answer.json()
        assert answer.status == 200
    assert re.fullmatch(r"[^0-9].+", body["runnerId"])
    assert body["mappedPorts"] == []
    await client.delete(body["runnerId"])
    async with client.session.delete(f"runners/{body['runnerId']}") as answer:
        assert answer.status == 410
        assert "no runner found with this id" in (await answer.json())["message"]


async def test_runners_that_cannot_be_provided(client: PoseidonClient) -> None:
    async with client.session.post("runners", data=b"") as answer:
        assert (answer.status, list(await answer.json())) == (400, ["message"])
    for unknown in ({"executionEnvironmentId": 9999}, {}):
        async with client.session.post("runners", json=unknown) as answer:
            assert (answer.status, list(await answer.json())) == (404, ["message"])


async def test_every_route_of_an_unknown_runner_is_gone(client: PoseidonClient) -> None:
    for method, path in (
        ("DELETE", ""),
        ("GET", "/files"),
        ("PATCH", "/files"),
        ("GET", "/files/raw?path=x"),
        ("POST", "/execute"),
        ("GET", "/websocket?executionID=x"),
    ):
        body = b"x" * 1_000_000 if method in ("PATCH", "POST") else None
        async with client.session.request(method, f"runners/r-x{path}", data=body) as answer:
            assert answer.status == 410, (method, path)
            assert "no runner found with this id" in (await answer.json())["message"]


async def test_the_pool_and_its_use_are_counted(client: PoseidonClient, runner: str) -> None:
    async with client.session.get("statistics/execution-environments") as answer:
        counts = (await answer.json())[str(ENVIRONMENT)]
    assert counts["id"] == ENVIRONMENT
    assert counts["prewarmingPoolSize"] == 2
    assert counts["usedRunners"] == 1


async def test_an_environment_can_be_used_as_soon_as_it_is_there(client: PoseidonClient) -> None:
    url = "execution-environments/22"
    async with client.session.put(url, json=POSEIDONS | {"prewarmingPoolSize": 0}) as answer:
        assert answer.status == 201
    provided = await client.provide(22)
    assert (await client.execute(provided, "whoami")).stderr == ""
    async with client.session.put(url, json=POSEIDONS | {"memoryLimit": 64}) as answer:
        assert answer.status == 204
    assert (await client.execute(provided, "true")).last == {"type": "exit", "data": 0}
    await client.delete(provided)
    async with client.session.delete(url) as answer:
        assert answer.status == 204


# --- executions -----------------------------------------------------------------------------------


async def test_an_execution_starts_exits_and_closes(client: PoseidonClient, runner: str) -> None:
    url = await client.url(runner, "true")
    host = str(client.session._base_url.authority)  # type: ignore[union-attr]
    assert re.fullmatch(
        rf"ws://{host}/api/v1/runners/{runner}/websocket\?executionID=[0-9a-f-]{{36}}", url
    )
    async with client.session.ws_connect(url) as socket:
        conversation = await collect(socket)
    assert conversation.messages == [{"type": "start"}, {"type": "exit", "data": 0}]
    assert conversation.close_code == 1000
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:  # an id is used once
        await client.session.ws_connect(url)
    assert refused.value.status == 404


async def test_output_is_apart_and_exact(client: PoseidonClient, runner: str) -> None:
    said = await client.execute(runner, "echo -n Hello World")
    assert (said.stdout, said.stderr, said.last["data"]) == ("Hello World", "", 0)
    said = await client.execute(runner, "cat -invalid")
    assert (said.stdout, said.last) == ("", {"type": "exit", "data": 1})
    assert "invalid option" in said.stderr
    said = await client.execute(runner, "echo -n 'it''s' \"$((6*7))\" 'ünïcode 😀'")
    assert said.stdout == "its 42 ünïcode 😀"
    said = await client.execute(runner, "kill -SEGV $$")
    assert said.last == {"type": "exit", "data": 139}


async def test_input_is_echoed_by_a_wide_terminal(client: PoseidonClient, runner: str) -> None:
    said = await client.execute(runner, "head -n 1", stdin="Hello\n")
    assert said.stdout == "Hello\r\nHello\r\n"
    said = await client.execute(runner, "stty size; echo $TERM $COLUMNS; test -t 0 -a -t 1")
    assert said.stdout.split() == ["24", "10000", "ansi", "10000"]
    assert said.last["data"] == 0
    said = await client.execute(runner, "test -t 2")
    assert said.last["data"] == 1
    long = "x" * 3000
    said = await client.execute(runner, "read line; echo got ${#line}", stdin=f"{long}\n")
    assert "got 3000" in said.stdout


async def test_files_environment_and_variables_reach_the_program(
    client: PoseidonClient, runner: str
) -> None:
    makefile = b"run:\n\t@echo Hello $(NAME)\n"
    assert await client.put_files(runner, {"Makefile": makefile}) == (204, "")
    if shutil.which("make"):
        said = await client.execute(runner, "make run", environment={"NAME": "World"})
        assert said.stdout == "Hello World\r\n"
    said = await client.execute(runner, "env; pwd", environment={"hello": "world; $(id)"})
    lines = said.stdout.split("\r\n")
    assert "CODEOCEAN=true" in lines
    assert "hello=world; $(id)" in lines
    assert "/workspace" in lines
    assert not [line for line in lines if line.startswith(("AWS", "NOMAD_", "ASSAY"))]


async def test_only_privileged_executions_are_roots(client: PoseidonClient, runner: str) -> None:
    assert (await client.execute(runner, "id -u")).stdout.strip() != "0"
    said = await client.execute(runner, "id -u", privilegedExecution=True)
    assert said.stdout.strip() == "0"


async def test_a_time_limit_counts_from_the_connection(client: PoseidonClient, runner: str) -> None:
    url = await client.url(runner, "sleep 60", timeLimit=1)
    await asyncio.sleep(0.7)
    started = asyncio.get_running_loop().time()
    async with client.session.ws_connect(url) as socket:
        said = await collect(socket)
    assert said.messages == [{"type": "start"}, {"type": "timeout"}]
    assert said.close_code == 1000
    assert 0.9 < asyncio.get_running_loop().time() - started < 20
    assert (await client.execute(runner, "true", timeLimit=0)).last["data"] == 0
    async with client.session.post(
        f"runners/{runner}/execute", json={"command": "true", "timeLimit": 10**6}
    ) as answer:
        assert answer.status == 200  # as long as the environment allows


async def test_an_idle_runner_ends_with_a_timeout(client: PoseidonClient) -> None:
    runner = await client.provide(inactivityTimeout=2)
    said = await client.execute(runner, "sleep infinity")
    assert said.messages == [{"type": "start"}, {"type": "timeout"}]
    assert said.close_code == 1000
    assert 1.5 < said.seconds < 25
    async with client.session.delete(f"runners/{runner}") as answer:
        assert answer.status == 410


async def test_a_deleted_runner_stops_as_expected(client: PoseidonClient) -> None:
    runner = await client.provide()
    url = await client.url(runner, "sleep 60")
    async with client.session.ws_connect(url) as socket:
        await socket.receive()
        await client.delete(runner)
        said = await collect(socket)
    assert said.messages == [{"type": "error", "data": "the allocation stopped as expected"}]
    assert said.close_code == 1000


async def test_out_of_memory_is_said_by_the_shell_and_by_137(
    client: PoseidonClient, runner: str
) -> None:
    said = await client.execute(runner, "</dev/zero head -c 110MB | tail > /dev/null")
    assert said.stdout == ""
    assert "Killed" in said.stderr
    assert said.last == {"type": "exit", "data": 137}
    assert (await client.execute(runner, "true")).last["data"] == 0


async def test_a_client_that_closes_has_its_program_killed_and_no_other(
    client: PoseidonClient, runner: str
) -> None:
    command = "sleep 61.7 & wait"
    async with client.session.ws_connect(await client.url(runner, command)) as socket:
        await socket.receive()
        async with client.session.ws_connect(await client.url(runner, "sleep 61.9")) as other:
            await other.receive()
            await socket.close()
            await gone(client, runner, "61.7")
            other._response.connection.transport.abort()  # type: ignore[union-attr]
            await asyncio.sleep(0.2)
    shown = await client.execute(runner, "ps ax", privilegedExecution=True)
    assert "61.9" in shown.stdout  # whoever vanishes wishes nothing


async def gone(client: PoseidonClient, runner: str, word: str) -> None:
    for _ in range(50):
        shown = await client.execute(runner, "ps ax", privilegedExecution=True)
        if word not in shown.stdout:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(shown.stdout)


async def test_any_bytes_come_as_text(client: PoseidonClient, runner: str) -> None:
    said = await client.execute(runner, r"printf 'a\xffb\0c'")
    assert said.stdout == "a\ufffdb\0c"
    said = await client.execute(runner, r"printf '\xe2'; sleep 0.1; printf '\x82\xac'")
    assert said.stdout == "€"


async def test_an_execution_can_use_an_empty_command(client: PoseidonClient, runner: str) -> None:
    assert (await client.execute(runner, "")).last == {"type": "exit", "data": 0}
    said = await client.execute(runner, "no-such-program")
    assert said.last == {"type": "exit", "data": 127}


# --- files ----------------------------------------------------------------------------------------


async def test_files_are_written_anywhere_and_deleted_before(
    client: PoseidonClient, runner: str
) -> None:
    assert await client.files(runner) == (200, {"files": []})
    copy = {"test.txt": b"one", "/tmp/absolute/x": b"two", "sub/": b"", "sub/y": b"", ".dot": b""}
    assert await client.put_files(runner, copy) == (204, "")
    said = await client.execute(runner, "cat test.txt /tmp/absolute/x")
    assert said.stdout == "onetwo"
    assert await client.put_files(runner, {"test.txt": b"new"}, ["test.txt"]) == (204, "")
    assert (await client.raw(runner, "test.txt"))[2] == b"new"
    assert await client.put_files(runner, {"z": b""}, ["./*"]) == (204, "")
    _, listed = await client.files(runner)
    assert [each["name"] for each in listed["files"]] == ["./z"]
    assert (await client.execute(runner, "ls -A")).stdout.split() == [".dot", "z"]
    assert await client.put_files(runner, {}, ["no such file"]) == (204, "")
    async with client.session.patch(f"runners/{runner}/files", data=b"") as answer:
        assert (answer.status, list(await answer.json())) == (400, ["message"])


async def test_what_cannot_be_written_is_said_and_the_rest_is_written(
    client: PoseidonClient, runner: str
) -> None:
    status, body = await client.put_files(runner, {"/proc/1/environ": b"x", "other": b"y"})
    assert status == 500
    assert "Cannot open: " in body
    assert '"errorCode"' in body
    assert (await client.raw(runner, "other"))[2] == b"y"


async def test_teachers_files_in_sticky_folders_are_protected(
    client: PoseidonClient, runner: str
) -> None:
    assert await client.put_files(runner, {"tests/": b"", "tests/test.sh": b"echo"}) == (204, "")
    said = await client.execute(runner, "touch tests/own && rm tests/own && echo made")
    assert said.stdout == "made\r\n"
    said = await client.execute(runner, "rm -f tests/test.sh")
    assert "Operation not permitted" in said.stderr
    said = await client.execute(runner, "echo > tests/test.sh")
    assert "Permission denied" in said.stderr
    said = await client.execute(runner, "stat -c '%A %U' tests tests/test.sh")
    assert said.stdout.split() == ["drwxrwxrwt", "root", "-rwxr--r--", "root"]


async def test_files_are_listed_as_ls_does(client: PoseidonClient, runner: str) -> None:
    await client.put_files(runner, {"test.txt": b"12345", "sub/x": b"", "sub/.y": b"", ".z": b""})
    status, listed = await client.files(runner)
    assert status == 200
    assert [each["name"] for each in listed["files"]] == ["./sub", "./test.txt", "./sub/x"]
    test = listed["files"][1]
    modified = test.pop("modificationTime")
    assert isinstance(modified, int)
    assert modified > 1_600_000_000
    assert test == {
        "name": "./test.txt",
        "entryType": "-",
        "size": 5,
        "permissions": "rwxr--r--",
        "owner": "root",
        "group": "root",
    }
    for query, names in (
        ({"recursive": "false"}, ["sub", "test.txt"]),
        ({"path": "sub"}, ["sub/x"]),
        ({"path": "/workspace/sub", "recursive": "false"}, ["x"]),
        ({"path": "test.txt"}, ["test.txt"]),
        ({"recursive": "perhaps"}, ["./sub", "./test.txt", "./sub/x"]),
    ):
        assert [each["name"] for each in (await client.files(runner, **query))[1]["files"]] == names


async def test_links_show_their_targets_to_who_may_see_them(
    client: PoseidonClient, runner: str
) -> None:
    query = {"path": "/proc/self/cwd", "recursive": "false"}
    (link,) = (await client.files(runner, **query))[1]["files"]
    assert (link["name"], link["entryType"]) == ("/proc/self/cwd", "l")
    assert link["linkTarget"] == "/workspace"
    status, listed = await client.files(runner, path="/proc/1/cwd")
    assert status == 200
    assert [each.get("linkTarget") for each in listed["files"]] == [None]
    await client.execute(runner, "ln -s /etc/passwd link")
    (link,) = (await client.files(runner))[1]["files"]
    assert (link["name"], link["linkTarget"]) == ("./link", "/etc/passwd")
    assert (await client.files(runner, path="link"))[1]["files"] == [link | {"name": "link"}]


async def test_what_is_not_there_or_not_allowed_is_a_failed_dependency(
    client: PoseidonClient, runner: str
) -> None:
    await client.execute(runner, "echo > secret; chmod 0 secret", privilegedExecution=True)
    await client.put_files(runner, {})
    await client.execute(runner, "touch /workspace/x", privilegedExecution=True)
    failed = {"message": "file not found or insufficient permissions"}
    assert await client.files(runner, path="nothing") == (424, failed)
    for path in ("nothing", "/workspace", "$(touch injected)"):
        status, _, body = await client.raw(runner, path)
        assert (status, b"insufficient permissions" in body) == (424, True)
    assert (await client.raw(runner, "injected"))[0] == 424


async def test_a_file_comes_with_its_length_and_name(client: PoseidonClient, runner: str) -> None:
    content = os.urandom(300_000)
    await client.put_files(runner, {'a "b" $c`d`': content})
    status, headers, body = await client.raw(runner, 'a "b" $c`d`')
    assert (status, body) == (200, content)
    assert headers["Content-Length"] == "300000"
    assert headers["Content-Disposition"] == r'attachment; filename="a \"b\" $c`d`"'
    await client.put_files(runner, {"/root/own": b"roots"})
    assert (await client.raw(runner, "/proc/1/environ"))[0] == 424


async def test_a_learner_reads_only_what_a_learner_may(client: PoseidonClient, runner: str) -> None:
    await client.put_files(runner, {"hidden": b"solution"})
    await client.execute(runner, "chmod 600 /workspace/hidden", privilegedExecution=True)
    assert (await client.raw(runner, "hidden"))[0] == 424
    assert (await client.raw(runner, "hidden", privilegedExecution="true"))[2] == b"solution"


async def test_sixty_megabytes_come_in_one_request(client: PoseidonClient) -> None:
    url = "execution-environments/23"
    big = POSEIDONS | {"memoryLimit": 400, "prewarmingPoolSize": 0}
    async with client.session.put(url, json=big) as answer:
        assert answer.status == 201
    runner = await client.provide(23)
    content = os.urandom(1_000_000) * 45
    assert await client.put_files(runner, {"big": content}) == (204, "")
    said = await client.execute(runner, "stat -c %s big; tail -c 4 big | od -An -tx1")
    assert said.stdout.split()[0] == "45000000"
    assert (await client.raw(runner, "big"))[2] == content
    await client.delete(runner)
    async with client.session.delete(url) as answer:
        assert answer.status == 204
