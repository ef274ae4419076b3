"""The group of commands. A command's module is imported when somebody calls it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from assay.cli.context import Flags

COMMANDS: Final = {
    "run": ("assay.cli.run:run", "Run a program in a sandbox, as if it ran here."),
    "grade": ("assay.cli.grade:grade", "Grade a submission for a task, here and now."),
    "regrade": (
        "assay.cli.regrade:regrade",
        "Grade again what a server has graded; compare, apply.",
    ),
    "results": ("assay.cli.results:results", "What a server has graded, as JSON, CSV or XML."),
    "webhook": ("assay.cli.webhook:webhook", "Tell other platforms what became of submissions."),
    "task": ("assay.cli.task:task", "Tasks: write one, try it, keep what it is worth."),
    "demo": ("assay.cli.demo:demo", "A tour: sample programs in sandboxes, and what they cost."),
    "serve": ("assay.cli.serve:serve", "Keep sandboxes warm, and serve them over HTTP."),
    "node": ("assay.cli.node:node", "Offer this machine's sandboxes to servers of others."),
    "token": ("assay.cli.token:token", "Who may use a server: make, list and revoke tokens."),
    "env": ("assay.cli.env:env", "Execution environments and their images."),
    "driver": ("assay.cli.driver:driver", "Drivers: list them, check what they promise."),
    "doctor": ("assay.cli.doctor:doctor", "What works on this machine, and what mends the rest."),
    "bench": ("assay.cli.bench:bench", "Measure start-up, images, execution, streams, growth."),
}
"""Name -> where it is, and its line in `assay --help`."""

EXAMPLES: Final = """\b
Try these:
  assay demo                         see it work
  assay run hello.py                 run a program in a sandbox
  assay run hello.c one two          compile it, run it with two arguments
  assay run -e bash -- ls -la /      run a command
  assay run --image ./course x.py    in the image of ./course/Dockerfile
  assay serve --environment python=4 an API, with four sandboxes ready for Python
  assay doctor                       what works here, and what would mend the rest

Settings come from flags, else from ASSAY_… variables, else from /etc/assay/assay.toml.
"""


class _Lazy(click.Group):
    """A group that knows names and help of its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        place, help_line = COMMANDS[cmd_name]
        if not ctx.invoked_subcommand and ctx.resilient_parsing:
            return click.Command(cmd_name, short_help=help_line)
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


def _show_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        import assay

        click.echo(f"assay {assay.__version__}")
        ctx.exit()


@click.group(cls=_Lazy, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--state", metavar="DIR", help="Keep sandboxes and images there. [/run/assay]")
@click.option(
    "--environments", metavar="DIR", multiple=True, help="More environments; may be repeated."
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version,
    help="Show the version.",
)  # fmt: skip
@click.pass_context
def app(ctx: click.Context, state: str | None, environments: tuple[str, ...]) -> None:
    """Assay runs untrusted programs in warm, isolated sandboxes, and says what they cost."""
    ctx.obj = Flags(state=state, environments=environments)


def run_app(arguments: Sequence[str]) -> int:
    """Run one command line. Whatever happens becomes an exit status and at most a line or two."""
    try:
        status = app.main(list(arguments), prog_name="assay", standalone_mode=False)
        if sys.stdout is not None:  # None: it was closed before we began
            sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _refuse(error)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except SystemExit:  # click's way to say that nobody reads standard output any more
        return _leave_quietly()
    except Exception as error:
        return _explain(error)
    return status if isinstance(status, int) else 0


def _refuse(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "assay"
    text = " ".join(error.format_message().split()).rstrip(".")
    click.echo(f"assay: {text}; see {command} --help", err=True)
    return error.exit_code


def _leave_quietly() -> int:
    """Nobody reads: what is still buffered must not raise again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
    return 141  # 128 + SIGPIPE


def _explain(error: Exception) -> int:
    from assay.cli.failure import report

    return report(error)
