"""What `assay node` is told: flags over ASSAY_NODE_* variables over the table [node]."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay.config.document import CONFIGURATION, NODE, Document
from assay.config.options import (
    Address,
    Option,
    address,
    number,
    one_of,
    path,
    text,
    value_of,
    whole,
)
from assay.config.settings import CERTIFICATES, Settings
from assay.domain.errors import InvalidInput

_EVERYWHERE: Final = Address(host="0.0.0.0", port=7300)  # noqa: S104
OPTIONS: Final = (
    Option(
        name="listen", table=NODE, parse=address, default=_EVERYWHERE,
        metavar="ADDRESS:PORT",
        about="Where to listen for servers, who have to show a certificate.",
    ),
    Option(
        name="certificates", table=NODE, parse=path, default=CERTIFICATES, metavar="FOLDER",
        about="Where ca.pem, cert.pem and key.pem are: `assay node certificates` makes them.",
    ),
    Option(
        name="driver", table=NODE, parse=text, default="lean", metavar="NAME",
        about="What makes the sandboxes, of `assay driver list`.",
    ),
    Option(
        name="stock", table=NODE, parse=whole(0, 10_000, "sandboxes"), default=16, metavar="N",
        about="Sandboxes of which all is there but what they are of, where the driver can do that.",
    ),
    Option(
        name="most_sandboxes", table=NODE, parse=whole(1, 100_000, "sandboxes"), default=1000,
        metavar="N", about="Sandboxes of all servers that there may be at one time.",
    ),
    Option(
        name="empty_seconds", table=NODE, parse=number(0, 3600, "seconds"), default=0.0,
        metavar="SECONDS",
        about="How long it empties itself, when it is told to end, before it does; sandboxes that"
        " are still there stay.",
    ),
    Option(
        name="log_level", table=NODE, parse=one_of("debug", "info", "warning", "error"),
        default="info", metavar="LEVEL", about="debug, info, warning or error.",
    ),
    Option(
        name="log_format", table=NODE, parse=one_of("json", "text"), default="json",
        metavar="FORMAT", about="json, or text for people.",
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSettings:
    """The settings of one node; `OPTIONS` says what each means."""

    base: Settings
    listen: Address
    certificates: Path
    driver: str
    stock: int
    most_sandboxes: int
    empty_seconds: float = 0.0
    log_level: str = "info"
    log_format: str = "json"


def read_node_settings(
    base: Settings,
    *,
    flags: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    configuration: Path = CONFIGURATION,
) -> NodeSettings:
    """Read the settings of a node. `flags` are by an option's name, None where not given.

    Raises InvalidInput: where, what is wrong, and what to write instead.
    """
    variables = os.environ if variables is None else variables
    file = Document.read(variables, configuration)
    table = file.table(NODE)
    known = sorted(option.name for option in OPTIONS)
    for key in table:
        if key not in known:
            raise InvalidInput(
                f"{file.file}: {NODE}.{key}: there is no such key; keys: {', '.join(known)}"
            )
    values = {
        option.name: value_of(option, flags or {}, variables, table, file.file)
        for option in OPTIONS
    }
    if values["driver"] == "nodes":
        raise InvalidInput("a node makes sandboxes itself: it can't have the driver nodes")
    return NodeSettings(base=base, **values)
