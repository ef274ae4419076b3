"""Logs: one line for each record, whatever is in it, and no secret ever."""

import io
import json
import logging
import threading
from collections.abc import Callable

import pytest

from assay.domain.token import LETTERS, PREFIX
from assay.observe.logs import MOST_WAITING, Redaction, logging_to

Write = Callable[[logging.Logger], None]


def logged(write: Write, *, form: str = "json", level: str = "info", **more: object) -> str:
    stream = io.StringIO()
    with logging_to(stream, form=form, level=level, **more):  # type: ignore[arg-type]
        write(logging.getLogger("assay.test"))
    return stream.getvalue()


def fail(logger: logging.Logger) -> None:
    try:
        raise ValueError("a\nb\x1b[31m")
    except ValueError:
        logger.exception("it failed")


def test_a_record_is_an_object_on_one_line() -> None:
    extra = {"fields": {"environment": "python", "seconds": 0.5}}
    line = logged(lambda logger: logger.info("made %s", "one", extra=extra))
    assert line.count("\n") == 1
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "info",
        "logger": "assay.test",
        "message": "made one",
        "environment": "python",
        "seconds": 0.5,
    }


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_text_from_outside_makes_no_line_of_its_own(form: str) -> None:
    text = "gone\n2026-01-01 ERROR root: all is lost\r\x1b[2J\x00\x9b\u2028"
    line = logged(lambda logger: logger.info("%s", text), form=form)
    assert line.count("\n") == 1
    assert len(line.splitlines()) == 1
    assert not set(line) & {"\r", "\x1b", "\0", "\x9b"}


def test_a_failure_has_its_traceback() -> None:
    assert "ValueError: a\nb" in json.loads(logged(fail))["traceback"]
    shown = logged(fail, form="text")
    assert "ValueError" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("text", ["\udcff", "é", "x" * 1_000_000])
@pytest.mark.parametrize("form", ["json", "text"])
def test_any_text_can_be_logged(form: str, text: str) -> None:
    extra = {"fields": {"path": text, "kind": object()}}
    line = logged(lambda logger: logger.info("%s", text, extra=extra), form=form)
    assert 0 < len(line) < 100_000
    if form == "json":
        assert json.loads(line)["level"] == "info"


TOKEN = PREFIX + "a" * LETTERS


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"token {TOKEN} is wrong", TOKEN),
        (f"Authorization: Bearer {TOKEN}", TOKEN),
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("{'Poseidon-Token': 'a-shared-one'}", "a-shared-one"),
        ('{"poseidon-token":"a-shared-one"}', "a-shared-one"),
        ("headers (b'Poseidon-Token', b'a-shared-one')", "a-shared-one"),
        ("no way to postgresql://assay:pass%20word@host/name", "pass%20word"),
        ('the secret is a"quoted\\one, you know', 'a"quoted\\one'),
    ],
)
def test_no_secret_gets_into_a_line(form: str, text: str, secret: str) -> None:
    def write(logger: logging.Logger) -> None:
        logger.warning("%s", text, extra={"fields": {"path": text, "error": {"detail": text}}})
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("it failed")

    line = logged(write, form=form, secrets=['a"quoted\\one'])
    inner = json.dumps(secret)[1:-1]
    assert "it failed" in line
    assert secret not in line
    assert inner not in line
    assert repr(secret)[1:-1] not in line


def test_what_is_no_secret_stays() -> None:
    text = "GET http://host:7200/api/v1/runners/r-1 assay_runners=5 bearer of news"
    assert Redaction(["abcdefgh"])(text).startswith(text[:60])


@pytest.mark.parametrize(("level", "shown"), [("debug", 3), ("info", 2), ("error", 1)])
def test_the_level_is_assays_own(level: str, shown: int) -> None:
    def write(logger: logging.Logger) -> None:
        logger.debug("a")
        logger.info("b")
        logger.error("c")
        logging.getLogger("alembic").info("d")

    assert logged(write, level=level).count("\n") == shown


def test_malformed_requests_are_no_news() -> None:
    assert logged(lambda _: logging.getLogger("aiohttp.server").error("bad")) == ""


def test_who_does_not_read_holds_nobody_up_and_is_told_what_was_lost() -> None:
    reading = threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            reading.wait(30)
            return super().write(text)

    stream = Slow()
    with logging_to(stream):
        logger = logging.getLogger("assay.test")
        for number in range(MOST_WAITING + 500):
            logger.info("%d", number)
        reading.set()
        while stream.getvalue().count("\n") < MOST_WAITING:
            threading.Event().wait(0.01)
        logger.info("more")
    assert "lines were dropped" in stream.getvalue()
    assert '"more"' in stream.getvalue()


def test_afterwards_logging_is_as_it_was() -> None:
    root, ours = logging.getLogger(), logging.getLogger("assay")
    before, threads = (root.level, ours.level, list(root.handlers)), set(threading.enumerate())
    logged(lambda logger: logger.info("x"), level="debug")
    assert before == (root.level, ours.level, list(root.handlers))
    assert set(threading.enumerate()) <= threads  # those of other tests may have ended meanwhile
