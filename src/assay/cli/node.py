"""`assay node`: sandboxes of this machine for servers of others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.flags import flags_of
from assay.config.node import OPTIONS
from assay.domain.errors import InvalidInput

if TYPE_CHECKING:
    from assay.bootstrap.nodes import NodeReport
    from assay.config import Settings
    from assay.config.node import NodeSettings

EPILOG: Final = """\b
Two machines in five minutes, both with Assay; "node1" is how the server reaches the other one:
  server$ assay node certificates ./certificates --node node1 --server main
  server$ scp -r certificates/node1 root@node1:/etc/assay/nodes
  server$ mv certificates/main /etc/assay/nodes
  node1$  assay node
  server$ ASSAY_NODES=node1 assay node list
  server$ ASSAY_NODES=node1 assay serve --driver nodes --environment python=4

\b
Signals:
  SIGTERM, SIGINT   end; sandboxes stay, and the next `assay node` goes on with them. With
                    --empty-seconds, idle ones move to other nodes first
  SIGHUP            show the certificate that is there by now

\b
Each option is a variable (ASSAY_NODE_LISTEN for --listen) and a key of the table [node] in
/etc/assay/assay.toml, too. docs/nodes.md explains it all.
"""


@click.group(epilog=EPILOG, invoke_without_command=True)
@flags_of(OPTIONS)
@click.pass_context
def node(ctx: click.Context, /, **options: Any) -> int:
    """Make sandboxes on this machine for servers that run on others.

    A server (`assay serve --driver nodes`) connects, shows its certificate, and takes sandboxes
    here as if they were its own machine's. Several servers may; none sees what another has.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    from assay.config.node import read_node_settings

    flags: Flags = ctx.obj
    settings = read_node_settings(flags.settings(), flags=options)
    flags.settings_for_sandboxes(driver=settings.driver)
    return _run(settings)


def _run(settings: NodeSettings) -> int:
    import uvloop

    from assay.bootstrap.node import serve_node
    from assay.observe.logs import logging_to

    logs = logging_to(form=settings.log_format, level=settings.log_level, secrets=())
    with logs, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_node(settings, announce=_announce))
    return 0


def _announce(place: str) -> None:
    click.echo(f"Assay makes sandboxes for servers at {place}")


@node.command("list")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.pass_obj
def list_(flags: Flags, *, as_json: bool) -> int:
    """Ask all nodes that this machine's server would use how they are.

    Which these are, ASSAY_NODES says ("node1,node2:7300"), or [nodes] in /etc/assay/assay.toml.
    Exit status 0 if all of them can be used, else 1.
    """
    from assay.bootstrap.nodes import ask_nodes

    settings = flags.settings()
    _require_named(settings)
    reports = asyncio.run(ask_nodes(settings))
    if as_json:
        from assay.cli.show import print_json

        print_json({"nodes": [_as_data(each) for each in reports]})
    else:
        _show(reports)
    usable = all(not each.problem for each in reports)
    return 0 if reports and usable else Status.FAILED


def _require_named(settings: Settings) -> None:
    named = settings.nodes
    if not (named.addresses or named.file or named.dns):
        raise InvalidInput(
            "no nodes are named: ASSAY_NODES=node1,node2, or addresses of [nodes] in"
            " /etc/assay/assay.toml (docs/nodes.md)"
        )


def _as_data(report: NodeReport) -> dict[str, Any]:
    status, facts = report.status, report.facts
    return {
        "name": report.name,
        "problem": report.problem,
        "driver": facts.driver if facts else "",
        "release": facts.release if facts else "",
        "host": facts.host if facts else "",
        "sandboxes": status.sandboxes if status else None,
        "most": status.most if status else None,
        "stock": status.stock if status else None,
        "load": round(status.load, 2) if status else None,
        "draining": status.draining if status else None,
    }


def _show(reports: Sequence[NodeReport]) -> None:
    from assay.cli.show import bad, console, good, table

    numbers = ("sandboxes", "most", "prepared", "load")
    shown = table("node", "driver", *numbers, "", right=numbers)
    for each in reports:
        status = each.status
        if status is None or each.problem:
            shown.add_row(each.name, "", "", "", "", "", bad(each.problem))
            continue
        driver = each.facts.driver if each.facts else ""
        state = bad("is being emptied") if status.draining else good("takes sandboxes")
        shown.add_row(
            each.name, driver, str(status.sandboxes), str(status.most), str(status.stock),
            f"{status.load:.2f}", state,
        )  # fmt: skip
    console().print(shown)


@node.command("drain")
@click.option("--stop", is_flag=True, help="Take sandboxes again.")
@click.pass_obj
def drain_(flags: Flags, *, stop: bool) -> int:
    """Have this machine's node emptied: it takes no new sandboxes, and idle ones go elsewhere.

    Runners stay until their users are done; `assay node list` shows how many are left. It holds
    until --stop, or until the machine starts again.
    """
    from assay.bootstrap.node import drain

    drain(flags.settings().state, wanted=not stop)
    done = "takes sandboxes again" if stop else "takes no new sandboxes"
    click.echo(f"the node of this machine {done}", err=True)
    return 0


@node.command("certificates")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--node", "nodes", multiple=True, metavar="ADDRESS",
    help="A node, by the name or address that servers reach it at; may be repeated.",
)  # fmt: skip
@click.option(
    "--server", "servers", multiple=True, metavar="NAME",
    help="A server, by a name that is its alone; may be repeated.",
)  # fmt: skip
@click.option(
    "--days", type=click.IntRange(1, 3650), default=365, show_default=True, metavar="N",
    help="For how long they are good.",
)  # fmt: skip
def certificates_(
    folder: Path, *, nodes: tuple[str, ...], servers: tuple[str, ...], days: int
) -> int:
    """Make certificates in FOLDER, and the authority that signs them if there is none yet.

    FOLDER/authority stays where it is, and secret: who has its key makes sandboxes everywhere.
    Each other folder goes to its machine, as /etc/assay/nodes (or --certificates of `assay node`,
    certificates of [nodes]). It needs the program openssl.
    """
    from assay.cli.node_certificates import make

    if not nodes and not servers:
        raise click.UsageError("name a --node or a --server")
    for made in make(folder, nodes=nodes, servers=servers, days=days):
        click.echo(made)
    return 0
