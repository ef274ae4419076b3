"""`assay regrade`: campaigns of a server that grade again what was graded."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import click
import msgspec

from assay.cli.server import call, server_options, with_server
from assay.cli.show import bad, console, good, print_json, table
from assay.domain.errors import InvalidInput

if TYPE_CHECKING:
    from assay_client.http import Http

_json = click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
_name = click.argument("campaign", metavar="CAMPAIGN")
_VERDICTS: Final = (
    "passed", "partial", "failed", "timed_out", "out_of_memory", "output_limit", "crashed", "error"
)  # fmt: skip


def _moment(ctx: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """A time with its zone, as servers read it. Raises InvalidInput."""
    try:
        msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)] | None)
    except msgspec.ValidationError as error:
        flag = parameter.opts[0]
        raise InvalidInput(f"{flag} {text}: this must be like 2027-01-31T23:59:00Z") from error
    return text


@click.group(
    epilog="""\b
Examples:
  assay regrade start algebra/sum          with the newest version of the task
  assay regrade start algebra --below 50 --which best
  assay regrade start algebra/sum --submission ID --version recorded
  assay regrade show ID --wait             how far it is, until it is finished
  assay regrade diff ID                    what it would change
  assay regrade diff ID --format csv > changes.csv
  assay regrade apply ID --only-up         let better grades count, and lower none
  assay regrade discard ID

\b
The server and the token are those of --server and --token, or of the variables
ASSAY_SERVER_URL and ASSAY_TOKEN; the token needs the scope `teach`.
"""
)
def regrade() -> None:
    """Grade again what was graded: propose, compare, and only then apply."""


@regrade.command("start")
@click.argument("what", metavar="COURSE[/TASK]")
@click.option("--learner", metavar="NAME", help="Of this one only.")
@click.option(
    "--since", metavar="TIME", callback=_moment,
    help="Handed in then or later: 2027-01-31T23:59:00Z.",
)  # fmt: skip
@click.option("--until", metavar="TIME", callback=_moment, help="Handed in before.")
@click.option(
    "--which", type=click.Choice(["all", "best", "last"]), default="all", show_default=True,
    help="Of each learner's for a task.",
)  # fmt: skip
@click.option("--below", type=float, metavar="GRADE", help="Grades less than this, or none.")
@click.option(
    "--verdict", "verdicts", multiple=True, type=click.Choice(_VERDICTS),
    help="Of this verdict; may be repeated.",
)  # fmt: skip
@click.option("--submission", "submissions", multiple=True, metavar="ID", help="May be repeated.")
@click.option(
    "--version", default="newest", show_default=True, metavar="VERSION",
    help='Of the task: "newest", "recorded" (as it was graded, with its limits), or a digest.',
)  # fmt: skip
@click.option("--note", default="", metavar="TEXT", help="What it is for.")
@server_options
@_json
def start_(
    *, what: str, verdicts: tuple[str, ...], submissions: tuple[str, ...], server: str,
    token: str | None, as_json: bool, **filters: Any,
) -> int:  # fmt: skip
    """Grade submissions again. Grades stay as they are until the campaign is applied."""
    course, _, task = what.partition("/")
    if not course or "/" in task:
        raise InvalidInput(f"{what}: write COURSE or COURSE/TASK")
    body = {
        "task": task or None, "verdicts": verdicts, "submissions": submissions, **filters
    }  # fmt: skip
    asked = {name: value for name, value in body.items() if value is not None}

    async def ask(http: Http) -> Any:
        return await call(http, "POST", "courses", course, "regrades", body=asked, again=False)

    return _show(with_server(server, token, ask), as_json=as_json)


@regrade.command("list")
@click.option("--course", metavar="COURSE", help="Of this course only.")
@server_options
@_json
def list_(*, course: str | None, server: str, token: str | None, as_json: bool) -> int:
    """The newest hundred campaigns."""

    async def ask(http: Http) -> Any:
        return await call(http, "GET", "regrades", course=course)

    found = with_server(server, token, ask)
    if as_json:
        print_json(found)
        return 0
    shown = table("campaign", "course", "task", "state", "graded", "started", right=("graded",))
    for each in found["regrades"]:
        shown.add_row(
            each["id"], each["course"], each["task"] or "", _state(each), _graded(each),
            each["startedAt"][:19],
        )  # fmt: skip
    console().print(shown)
    return 0


@regrade.command("show")
@_name
@click.option("--wait", is_flag=True, help="Until all of it is graded.")
@server_options
@_json
def show_(*, campaign: str, wait: bool, server: str, token: str | None, as_json: bool) -> int:
    """How far a campaign is, and what became of it."""

    async def ask(http: Http) -> Any:
        if wait:
            await _until_finished(http, campaign)
        return await call(http, "GET", "regrades", campaign)

    return _show(with_server(server, token, ask), as_json=as_json)


async def _until_finished(http: Http, campaign: str) -> None:
    """The server's events end with the campaign's grading, or with the connection."""
    import asyncio

    while not (await call(http, "GET", "regrades", campaign))["finished"]:
        async with http.stream("GET", http.url("regrades", campaign, "events")) as response:
            async for _ in response.content.iter_any():
                pass
        await asyncio.sleep(0.2)


@regrade.command("diff")
@_name
@click.option(
    "--format", "format_", type=click.Choice(["table", "csv", "markdown"]), default="table",
    show_default=True, help="As what it is printed.",
)  # fmt: skip
@click.option("--all", "whole", is_flag=True, help="Show those that stay the same, too.")
@server_options
@_json
def diff_(
    *, campaign: str, format_: str, whole: bool, server: str, token: str | None, as_json: bool
) -> int:
    """What a campaign would change, or has changed, submission by submission."""
    if format_ != "table" and not as_json:

        async def text(http: Http) -> bytes:
            url = http.url("regrades", campaign, "report", format=format_)
            return await http.call("GET", url, answer=bytes, again=True, seconds=600.0)

        sys.stdout.buffer.write(with_server(server, token, text))
        return 0

    async def ask(http: Http) -> Any:
        return await call(http, "GET", "regrades", campaign, "report")

    found = with_server(server, token, ask)
    if as_json:
        print_json(found)
    else:
        _show_report(found, whole=whole)
    return 0


@regrade.command("apply")
@_name
@click.option("--only-up", is_flag=True, help="Lower no grade.")
@click.option(
    "--unfinished", is_flag=True, help="Now, although some are not graded yet; these stay."
)
@click.option(
    "--skip-changed", is_flag=True,
    help="Leave alone what something else has changed since, instead of applying nothing.",
)  # fmt: skip
@server_options
@_json
def apply_(
    *, campaign: str, only_up: bool, unfinished: bool, skip_changed: bool, server: str,
    token: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Let a campaign's results count, all at once. What they replace stays in the history."""
    body = {"onlyUp": only_up, "unfinished": unfinished, "skipChanged": skip_changed}

    async def ask(http: Http) -> Any:
        return await call(http, "POST", "regrades", campaign, "apply", body=body)

    return _show(with_server(server, token, ask), as_json=as_json)


@regrade.command("discard")
@_name
@server_options
@_json
def discard_(*, campaign: str, server: str, token: str | None, as_json: bool) -> int:
    """End a campaign; no grade has changed, and what waits is not graded."""

    async def ask(http: Http) -> Any:
        return await call(http, "DELETE", "regrades", campaign)

    return _show(with_server(server, token, ask), as_json=as_json)


# --- showing ---


def _show(found: Any, *, as_json: bool) -> int:
    if as_json:
        print_json(found)
        return 0
    what = found["course"] + (f"/{found['task']}" if found["task"] else "")
    out = console()
    out.print(f"{found['id']}  {what}, {found['which']}, version {found['version']}")
    if found["note"]:
        out.print(found["note"])
    out.print(f"{_state(found)}: {_graded(found)} graded{_more(found)}")
    if found["applied"] is not None:
        counts = ", ".join(f"{count} {name}" for name, count in found["applied"].items())
        out.print(good(counts))
    return 0


def _state(found: Any) -> str:
    if found["state"] != "open":
        return str(found["state"])
    return "ready to be applied" if found["finished"] else "being graded"


def _graded(found: Any) -> str:
    progress = found["progress"]
    return f"{progress['done'] + progress['failed']} of {progress['total']}"


def _more(found: Any) -> str:
    progress = found["progress"]
    failed = f", {progress['failed']} of them without success" if progress["failed"] else ""
    if found["finished"]:
        return failed
    seconds = progress["seconds"]
    left = "unknown how long it takes" if seconds is None else f"about {seconds:.0f} s left"
    return f"{failed}; {left}"


def _show_report(found: Any, *, whole: bool) -> None:
    shown = table("submission", "learner", "task", "old", "new", "change", "why",
                  right=("old", "new"))  # fmt: skip
    for each in found["differences"]:
        if whole or each["change"] != "same" or each["conflict"]:
            shown.add_row(
                each["submission"], each["learner"], each["task"], _grade(each["oldGrade"]),
                _grade(each["newGrade"]), _change(each), _why(each),
            )  # fmt: skip
    out = console()
    out.print(shown)
    counts = ", ".join(
        f"{count} {name}" for name, count in found["summary"].items() if isinstance(count, int)
    )
    out.print(counts)


def _grade(grade: float | None) -> str:
    return "–" if grade is None else f"{grade:g}"


def _change(each: Any) -> Any:
    text = f"{each['change']}, changed since" if each["conflict"] else each["change"]
    return bad(text) if each["change"] in ("down", "failed") or each["conflict"] else text


def _why(each: Any) -> str:
    parts = [
        f"{part['id']}: {part['oldVerdict'] or 'none'} → {part['newVerdict'] or 'none'}"
        for part in each["parts"]
    ]
    return "; ".join((*parts, *each["remarks"], *filter(None, (each["reason"],))))
