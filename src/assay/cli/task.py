"""`assay task`: for teachers, who write tasks. Each command has a module of its own."""

from __future__ import annotations

import click

from assay.cli.task_check import check
from assay.cli.task_new import new
from assay.cli.task_test import test


@click.group(
    epilog="""\b
Examples:
  assay task new sum                          a task to begin with, in Python
  assay task new lists --environment java     in another language of `assay env list`
  assay task new quiz --kind choice           a question
  assay task check sum                        before learners see it
  assay task check courses/introduction       all tasks of a course
  assay task test sum                         what is recorded in sum/tests
"""
)
def task() -> None:
    """Tasks: write one, try it before learners do, keep what it is worth.

    docs/tasks.md explains every key of task.toml.
    """


for _command in (new, check, test):
    task.add_command(_command)
