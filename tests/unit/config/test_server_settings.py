"""What `assay serve` is told, where from, and what is said about nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.config import read_settings
from assay.config.options import OPTIONS, Address
from assay.config.server import ServerSettings, read_server_settings
from assay.domain.errors import AssayError, InvalidInput
from assay.domain.limits import MIB, SandboxLimits

REPOSITORY = Path(__file__).parents[3]


def read(text: str = "", folder: Path | None = None, **more: object) -> ServerSettings:
    variables = {"ASSAY_STATE": "/run/mine", **more.pop("variables", {})}  # type: ignore[dict-item]
    if folder is not None:
        (folder / "assay.toml").write_text(text)
        variables["ASSAY_CONFIG"] = str(folder / "assay.toml")
    nowhere = Path("/nowhere/assay.toml")
    base = read_settings(variables=variables, configuration=nowhere)
    return read_server_settings(base, variables=variables, configuration=nowhere, **more)  # type: ignore[arg-type]


def test_without_anything_only_this_machine_is_served() -> None:
    settings = read()
    assert settings.listen == Address(host="127.0.0.1", port=7200)
    assert (settings.token, settings.environments) == (None, {})
    assert not settings.allow_host_images


def test_another_state_folder_has_a_database_of_its_own() -> None:
    assert read().database == "sqlite:////run/mine/server.db"
    elsewhere = read(variables={"ASSAY_SERVER_DATABASE": "postgresql://h/a"})
    assert elsewhere.database == "postgresql://h/a"


def test_the_file_is_read_variables_win_over_it_and_flags_over_variables(tmp_path: Path) -> None:
    text = "[server]\nlisten = '[::1]:1'\ndrain_seconds = 3\nrequest_mib = 4\n"
    settings = read(
        text, tmp_path, flags={"drain_seconds": "7"},
        variables={"ASSAY_SERVER_DRAIN_SECONDS": "5", "ASSAY_SERVER_REQUEST_MIB": "6"},
    )  # fmt: skip
    assert settings.listen == Address(host="::1", port=1)
    assert (settings.drain_seconds, settings.request_mib) == (7.0, 6)


def test_environments_have_tables_and_sizes(tmp_path: Path) -> None:
    text = """
[server.environments.python]
pool_size = 9
sandbox = { memory = "64 MiB" }
[server.environments.21]
image = "debian:12"
"""
    found = read(text, tmp_path, environments=("python=4", "bash")).environments
    assert {name: each.pool_size for name, each in found.items()} == {
        "python": 4, "21": 2, "bash": 2,
    }  # fmt: skip
    assert found["python"].sandbox.over(SandboxLimits()).memory_bytes == 64 * MIB
    assert [found[name].language for name in ("python", "21", "bash")] == ["python", None, "bash"]
    found = read(variables={"ASSAY_SERVER_ENVIRONMENTS": "python=1,c"}).environments
    assert {name: each.pool_size for name, each in found.items()} == {"python": 1, "c": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("server = 1", "server: this must be a table"),
        ("[server]\nport = 1", "server.port: there is no such key; keys: "),
        ("[server]\nlisten = 'here'", "server.listen: this must be an address and a port"),
        ("[server]\nlisten = '::1:70'", "server.listen: this must be an address and a port"),
        ("[server]\nlisten = 'a:70000'", "server.listen: this must be an address and a port"),
        ("[server]\nlisten = true", "server.listen: this must be an address and a port"),
        ("[server]\nmost_sandboxes = 0", "a whole number from 1 to 100000"),
        ("[server]\nmost_sandboxes = 1.5", "a whole number from 1 to 100000"),
        ("[server]\ndrain_seconds = -1", "a number from 0 to 3600 (seconds)"),
        ("[server]\ndrain_seconds = nan", "a number from 0 to 3600 (seconds)"),
        ("[server]\ndrain_seconds = true", "a number from 0 to 3600 (seconds)"),
        ("[server]\nallow_host_images = 2", "true or false"),
        ("[server]\nlog_level = 'loud'", "one of debug, info, warning, error"),
        ("[server]\ntoken = 'short'", "at least 16 letters: openssl rand"),
        ('[server]\ntoken = "a\\nb"', "a line of text"),
        ("[server]\nadvertise = 'a:1'", "postgresql://…, or leave out --advertise"),
        (
            "[server]\nadvertise = '0.0.0.0:1'\ndatabase = 'postgresql://a@b/c'",
            "0.0.0.0:1 is no address at which other servers reach this one",
        ),
        ("[server]\ntls_key = '/a'", "both tls_certificate and tls_key"),
        ("[server]\ntrusted_proxies = 'proxy'", "addresses or networks, such as"),
        ("[server]\ntrusted_proxies = 1", "addresses or networks, such as"),
        ("[server]\nmost_sandboxes = 3\n[server.environments.c]\npool_size = 4", "raise it, or"),
        ("[server]\nenvironments = 1", "server.environments: this must be tables"),
        ("[server.environments]\nPython = {}", "'Python' is no name"),
        ("[server.environments.c]\nsize = 1", "server.environments.c: "),
        ("[server.environments.c]\npool_size = -1", "pool_size: this must be from 0"),
        ("[server.environments.c]\nexposed_ports = [0]", "ports are from 1 to 65535"),
        ("[server.environments.c]\nsandbox = {memory = 3}", 'a size such as "256 MiB"'),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_a_remedy(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        read(text, tmp_path)
    assert words in raised.value.message


def test_wrong_flags_and_variables_are_named(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"^--drain-seconds: this must be a number"):
        read(flags={"drain_seconds": "soon"})
    with pytest.raises(AssayError, match=r"^ASSAY_SERVER_LISTEN: this must be an address"):
        read(variables={"ASSAY_SERVER_LISTEN": "7200x"})
    with pytest.raises(AssayError, match=r"^--environment: 'c=x' must be NAME=SIZE"):
        read(environments=("c=x",))


def test_the_secret_is_not_shown_and_is_read_from_its_file(tmp_path: Path) -> None:
    secret = "sesame-open-yourself"
    assert secret not in repr(read(variables={"ASSAY_SERVER_TOKEN": secret}))
    file = tmp_path / "token"
    settings = read(variables={"ASSAY_SERVER_TOKEN_FILE": str(file)})
    with pytest.raises(InvalidInput, match="cannot be read"):
        settings.secret()
    file.write_text("short\n")
    with pytest.raises(InvalidInput, match="openssl rand"):
        settings.secret()
    file.write_text(f"{secret}\n")
    assert settings.secret() == secret


def test_every_option_is_a_setting_and_in_the_documentation() -> None:
    written = (REPOSITORY / "docs/serve.md").read_text()
    for option in OPTIONS:
        assert option.name in ServerSettings.__dataclass_fields__
        default = option.default_shown.replace("--state", "`--state`")
        flag = f"`{option.dashed}`" if option.flag else ""
        row = f"| {flag} | `{option.variable}` | `{option.name}` | {default} |"
        assert row in written, row


def test_defaults_of_the_table_are_those_of_the_value() -> None:
    settings = read()
    for option in OPTIONS:
        if option.name != "database":
            assert getattr(settings, option.name) == option.default
