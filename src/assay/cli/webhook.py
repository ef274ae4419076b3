"""`assay webhook`: who is told by HTTP what became of a course's submissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from assay.cli.server import call, server_options, with_server
from assay.cli.show import bad, console, good, print_json, table

if TYPE_CHECKING:
    from assay_client.http import Http

_EVENTS: Final = ("submission.graded", "submission.failed", "submission.cancelled")
_json = click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
_course = click.argument("course", metavar="COURSE")
_webhook = click.argument("webhook", metavar="WEBHOOK")


@click.group(
    epilog="""\b
Examples:
  assay webhook add algebra https://lms.example/assay
  assay webhook list algebra
  assay webhook test algebra ID       send a message that says nothing
  assay webhook log algebra ID        what arrived, and why the rest did not
  assay webhook rotate algebra ID     another secret; for a day both sign
  assay webhook enable algebra ID     after it was switched off for failing

\b
The server and the token are those of --server and --token, or of the variables
ASSAY_SERVER_URL and ASSAY_TOKEN; the token needs the scope `teach`.
"""
)
def webhook() -> None:
    """Tell other platforms what became of submissions."""


def _asked(
    server: str, token: str | None, method: str, *path: str, body: object = None, **query: Any
) -> Any:
    async def ask(http: Http) -> Any:
        again = method != "POST"
        return await call(http, method, *path, body=body, again=again, **query)

    return with_server(server, token, ask)


@webhook.command("add")
@_course
@click.argument("url", metavar="URL")
@click.option(
    "--event", "events", multiple=True, type=click.Choice(_EVENTS),
    help="Of these only; may be repeated. Else of what was graded, and what failed.",
)  # fmt: skip
@server_options
@_json
def add_(
    *, course: str, url: str, events: tuple[str, ...], server: str, token: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Tell URL from now on. Prints the secret that signs the messages, this once."""
    body = {"url": url, **({"events": events} if events else {})}
    return _secret(
        _asked(server, token, "POST", "courses", course, "webhooks", body=body), as_json=as_json
    )


@webhook.command("list")
@_course
@server_options
@_json
def list_(*, course: str, server: str, token: str | None, as_json: bool) -> int:
    """Those of a course, and whether they work."""
    found = _asked(server, token, "GET", "courses", course, "webhooks")
    if as_json:
        print_json(found)
        return 0
    shown = table("webhook", "url", "events", "state")
    for each in found["webhooks"]:
        events = ", ".join(name.removeprefix("submission.") for name in each["events"])
        shown.add_row(each["id"], each["url"], events, _state(each))
    console().print(shown)
    return 0


@webhook.command("log")
@_course
@_webhook
@click.option("--most", type=click.IntRange(1, 1000), default=20, show_default=True)
@server_options
@_json
def log_(
    *, course: str, webhook: str, most: int, server: str, token: str | None, as_json: bool
) -> int:
    """The newest messages, and what became of them."""
    path = ("courses", course, "webhooks", webhook, "deliveries")
    found = _asked(server, token, "GET", *path, most=most)
    if as_json:
        print_json(found)
        return 0
    shown = table("message", "event", "submission", "state", "attempts", "last answer",
                  right=("attempts",))  # fmt: skip
    for each in found["deliveries"]:
        answer = each["lastError"] or str(each["lastStatus"] or "")
        shown.add_row(
            each["id"], each["event"], each["submission"] or "", each["state"],
            str(each["attempts"]), answer,
        )  # fmt: skip
    console().print(shown)
    return 0


@webhook.command("test")
@_course
@_webhook
@server_options
@_json
def test_(*, course: str, webhook: str, server: str, token: str | None, as_json: bool) -> int:
    """Send a message that says nothing; `log` tells whether it arrived."""
    found = _asked(server, token, "POST", "courses", course, "webhooks", webhook, "test")
    print_json(found) if as_json else console().print(f"{found['id']} is on its way")
    return 0


@webhook.command("rotate")
@_course
@_webhook
@server_options
@_json
def rotate_(*, course: str, webhook: str, server: str, token: str | None, as_json: bool) -> int:
    """Another secret, printed this once; for a day both sign."""
    found = _asked(server, token, "POST", "courses", course, "webhooks", webhook, "rotate")
    return _secret(found, as_json=as_json)


@webhook.command("enable")
@_course
@_webhook
@server_options
@_json
def enable_(*, course: str, webhook: str, server: str, token: str | None, as_json: bool) -> int:
    """Switch it on again; what waited goes out."""
    path = ("courses", course, "webhooks", webhook)
    found = _asked(server, token, "PATCH", *path, body={"active": True})
    print_json(found) if as_json else console().print(_state(found))
    return 0


@webhook.command("remove")
@_course
@_webhook
@server_options
def remove_(*, course: str, webhook: str, server: str, token: str | None) -> int:
    """Tell it no more; what waits is not sent."""

    async def ask(http: Http) -> None:
        url = http.url("courses", course, "webhooks", webhook)
        await http.call("DELETE", url, answer=bytes, again=False)

    with_server(server, token, ask)
    return 0


def _secret(found: Any, *, as_json: bool) -> int:
    if as_json:
        print_json(found)
        return 0
    out = console()
    out.print(f"webhook  {found['id']}")
    out.print(f"secret   {found['secret']}", soft_wrap=True)
    return 0


def _state(found: Any) -> Any:
    if not found["active"]:
        return bad(f"off: {found['reason']}")
    if found["failingSince"]:
        return bad(f"fails since {found['failingSince'][:19]}")
    return good("works")
