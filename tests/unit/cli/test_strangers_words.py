"""What an image's author wrote is shown, and never obeyed by a terminal."""

from __future__ import annotations

import json

import pytest

from assay.cli.progress import shown_progress
from assay.cli.show import print_json
from assay.images import Progress

WORDS = "\x1b[2J\x07 \x9b2J \x7f\u202e\udcff ä"


def test_json_is_the_same_without_what_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"entrypoint": [WORDS]})

    shown = capsys.readouterr().out
    assert json.loads(shown) == {"entrypoint": [WORDS]}
    assert shown.rstrip("\n").isprintable()
    assert "ä" in shown


def test_steps_of_a_build_are_one_plain_line_each(capfd: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as on_progress:
        on_progress(Progress(step=f"building ./: RUN {WORDS}\nassay: done"))

    shown = capfd.readouterr().err
    assert shown.count("\n") == 1
    assert shown.rstrip("\n").isprintable()
