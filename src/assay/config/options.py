"""The options of `assay serve`: one table that flags, variables and keys are made from."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay.domain.errors import InvalidInput

Parse = Callable[[Any], Any]
"""From a text, or a value of the file, to a setting. Raises ValueError: what it must be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a server listens: an address or name of this machine, and a port (0: a free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Advertised:
    """Where other servers reach this one; without a scheme, by the one that it listens with."""

    address: Address
    scheme: str = ""

    def url(self, *, tls: bool) -> str:
        """`tls`: whether this server serves HTTPS itself."""
        return f"{self.scheme or ('https' if tls else 'http')}://{self.address}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """`--NAME`, ASSAY_SERVER_NAME, and the key NAME of the table [server], or of another table."""

    name: str
    about: str
    parse: Parse
    default: Any = None
    shown: str = ""
    """The default, where it is not the value itself."""
    metavar: str = ""
    flag: bool = True
    """False for secrets, which everybody could read in the list of processes."""
    table: str = "server"
    """Of the file; a part of the variable's name."""

    @property
    def switch(self) -> bool:
        """Whether it is said or not, without a value."""
        return self.parse is switch

    @property
    def dashed(self) -> str:
        """The flag."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The variable."""
        return f"ASSAY_{self.table.upper()}_{self.name.upper()}"

    @property
    def default_shown(self) -> str:
        """The default, for people."""
        if self.shown or self.default in (None, ()):
            return self.shown or "none"
        return "no" if self.default is False else f"{self.default}"

    def read(self, value: Any, place: str) -> Any:
        """The setting that `value`, found at `place`, stands for. Raises InvalidInput."""
        try:
            return self.parse(value)
        except ValueError as wrong:
            raise InvalidInput(f"{place}: this must be {wrong}") from None


def value_of(
    option: Option,
    flags: Mapping[str, Any],
    variables: Mapping[str, str],
    table: Mapping[str, Any],
    file: Path,
) -> Any:
    """The setting that was made, the flag before the variable before the file, or the default.

    Raises InvalidInput: where, and what it must be.
    """
    if flags.get(option.name) is not None:
        return option.read(flags[option.name], option.dashed)
    if variables.get(option.variable):
        return option.read(variables[option.variable], option.variable)
    if option.name in table:
        return option.read(table[option.name], f"{file}: {option.table}.{option.name}")
    return option.default


def text(value: Any) -> str:
    """One line of text."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("a line of text")
    return value


def path(value: Any) -> Path:
    """A path, made absolute."""
    return Path(text(value)).absolute()


def paths(value: Any) -> tuple[Path, ...]:
    """Paths, made absolute: a list, or a text with commas between them."""
    names = value.split(",") if isinstance(value, str) else value
    try:
        return tuple(path(name.strip()) for name in names)
    except (TypeError, ValueError, AttributeError):
        raise ValueError("folders, such as /srv/courses/algorithms, /srv/courses/c") from None


def switch(value: Any) -> bool:
    """Yes or no."""
    said = {True: True, False: False, "1": True, "yes": True, "true": True,
            "0": False, "no": False, "false": False, "": False}  # fmt: skip
    if not isinstance(value, bool | str) or value not in said:
        raise ValueError("true or false (1 or 0 in a variable)")
    return said[value]


def number(least: float, most: float, unit: str) -> Parse:
    """A number of `unit`s within these bounds."""

    def parse(value: Any) -> float:
        try:
            found = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            found = float("nan")
        if not least <= found <= most:
            raise ValueError(f"a number from {least:g} to {most:g} ({unit})")
        return found

    return parse


def whole(least: int, most: int, unit: str) -> Parse:
    """A whole number of `unit`s within these bounds."""

    def parse(value: Any) -> int:
        try:
            found = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            found = float("nan")
        if not found.is_integer() or not least <= found <= most:
            raise ValueError(f"a whole number from {least} to {most} ({unit})")
        return int(found)

    return parse


def networks(value: Any) -> tuple[str, ...]:
    """Addresses and networks: a list, or a text with commas between them."""
    names = value.split(",") if isinstance(value, str) else value
    try:
        return tuple(str(ipaddress.ip_network(name.strip())) for name in names)
    except (TypeError, ValueError, AttributeError):
        raise ValueError("addresses or networks, such as 127.0.0.1, 10.0.0.0/8") from None


def one_of(*words: str) -> Parse:
    """One of these words."""

    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return str(value)

    return parse


def address(value: Any) -> Address:
    """HOST:PORT, [HOST]:PORT for an IPv6 address, or a port alone on 127.0.0.1."""
    found = re.fullmatch(r"(?:(?:\[([0-9a-f:.%a-z]+)\]|([^\[\]:\s]+)):)?([0-9]{1,5})", f"{value}")
    if found is None or int(found[3]) > 65535:
        raise ValueError("an address and a port, such as 127.0.0.1:7200 or [::1]:7200")
    return Address(host=found[1] or found[2] or "127.0.0.1", port=int(found[3]))


def advertised(value: Any) -> Advertised:
    """The same, with https:// or http:// before it, if it is to be said."""
    scheme, said, place = f"{value}".rpartition("://")
    if said and scheme not in ("http", "https"):
        raise ValueError("an address and a port, such as https://assay1.example:7200")
    return Advertised(address=address(place), scheme=scheme)


OPTIONS: Final = (
    Option(
        name="listen", parse=address, default=Address(host="127.0.0.1", port=7200),
        metavar="ADDRESS:PORT",
        about="Where to listen. Other machines can reach only a server with a secret or tokens.",
    ),
    Option(
        name="database", parse=text, shown="/var/lib/assay/server.db, or server.db in --state",
        metavar="URL",
        about="sqlite:////PATH or postgresql://USER@HOST/NAME.",
    ),
    Option(
        name="advertise", parse=advertised, metavar="[https://]ADDRESS:PORT",
        shown="none: one server for a database",
        about="Be one of several servers of a PostgreSQL, which reach this one there.",
    ),
    Option(
        name="token", parse=text, flag=False, metavar="SECRET",
        about="The secret of token_file itself.",
    ),
    Option(
        name="token_file", parse=path, metavar="FILE",
        about="A secret shared with clients, as Poseidon has it; good for all but managing tokens.",
    ),
    Option(
        name="tls_certificate", parse=path, metavar="FILE",
        about="Serve HTTPS with this chain of certificates (PEM).",
    ),
    Option(name="tls_key", parse=path, metavar="FILE", about="The key of the certificate (PEM)."),
    Option(
        name="tls_authority", parse=path, metavar="FILE", shown="the system's",
        about="The authorities (PEM) that other servers' certificates have to be of.",
    ),
    Option(
        name="trusted_proxies", parse=networks, default=(), metavar="NETWORKS",
        about="Proxies whose X-Forwarded-Proto, -Host and -For are believed, with commas between.",
    ),
    Option(
        name="port_host", parse=text, default="127.0.0.1", metavar="HOST",
        about="The address in mappedPorts, where exposed ports can be reached.",
    ),
    Option(
        name="allow_host_images", parse=switch, default=False,
        about="Environments made by the API may use this machine's own programs (image host).",
    ),
    Option(
        name="courses", parse=paths, default=(), metavar="FOLDERS",
        about="Courses to grade submissions for: folders with a course.toml, commas between.",
    ),
    Option(
        name="graders", parse=whole(0, 1000, "submissions"), metavar="N",
        shown="as many as processors",
        about="Submissions that this server grades at one time; 0: leave it to others.",
    ),
    Option(
        name="keep_submissions_days", parse=whole(1, 36_500, "days"), metavar="N",
        shown="for ever",
        about="Forget submissions, results and archives so many days after their end.",
    ),
    Option(
        name="webhook_networks", parse=networks, default=(), metavar="NETWORKS",
        about="Networks that are not public, and that webhooks may reach, by http as well.",
    ),
    Option(
        name="most_sandboxes", parse=whole(1, 100_000, "sandboxes"), default=2000, metavar="N",
        about="Sandboxes that there may be at one time, warm ones and runners.",
    ),
    Option(
        name="parallel_creations", parse=whole(1, 64, "sandboxes"), metavar="N",
        shown="half as many as processors",
        about="Sandboxes that are made at one time.",
    ),
    Option(
        name="claim_seconds", parse=number(0, 3600, "seconds"), default=10.0, metavar="SECONDS",
        about="How long a request for a runner waits when no sandbox is ready.",
    ),
    Option(
        name="retain_seconds", parse=number(1, 86_400, "seconds"), default=60.0, metavar="SECONDS",
        about="How long the end of an execution is kept for a client that has lost its connection.",
    ),
    Option(
        name="detached_seconds", parse=number(1, 86_400, "seconds"), default=300.0,
        metavar="SECONDS",
        about="How long a program without a time limit goes on that no client is connected to.",
    ),
    Option(
        name="drain_seconds", parse=number(0, 3600, "seconds"), default=30.0, metavar="SECONDS",
        about="After SIGTERM: how long to wait for executions.",
    ),
    Option(
        name="destroy_on_exit", parse=switch, default=False,
        about="End all runners and sandboxes with the server; otherwise the next one goes on.",
    ),
    Option(
        name="request_mib", parse=whole(1, 4096, "MiB"), default=128, metavar="N",
        about="The largest request, in MiB.",
    ),
    Option(
        name="depletion_threshold", parse=number(0, 1, "idle by wanted sandboxes"), default=0.0,
        metavar="SHARE",
        about="/health answers 503 while a pool has less than this share of its sandboxes ready.",
    ),
    Option(
        name="log_level", parse=one_of("debug", "info", "warning", "error"), default="info",
        metavar="LEVEL", about="debug, info, warning or error.",
    ),
    Option(
        name="log_format", parse=one_of("json", "text"), default="json", metavar="FORMAT",
        about="json, or text for people.",
    ),
)  # fmt: skip
"""All but `environments` (`--environment NAME=SIZE`), whose values are tables in the file."""
