"""Which driver to use when nobody named one: the fastest that works, found out once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Final

from assay.bootstrap.drivers import OURS, PREFERRED, lean_program, make_driver, program_named
from assay.config import Settings
from assay.domain.errors import AssayError, DriverUnavailable

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_FINDING: Final = "default-driver.json"
_SEARCHED: Final = os.pathsep.join(
    ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
)


async def choose_driver(settings: Settings) -> str:
    """The driver that the settings name, or else the first of `PREFERRED` that works here.

    Finding that out makes a sandbox; the answer is kept until the machine starts again or one of
    the programs changes. Raises DriverUnavailable with the reasons when none works.
    """
    if settings.driver:
        return settings.driver
    key = _key(settings)
    known = _read(settings)
    if known.get("key") == key and known.get("driver") in PREFERRED:
        return known["driver"]
    name = await _find(settings)
    _keep(settings, {"key": key, "driver": name})
    return name


def forget_choice(settings: Settings) -> None:
    """Find out again next time: what worked has failed."""
    with contextlib.suppress(OSError):
        (settings.state / _FINDING).unlink(missing_ok=True)


async def _find(settings: Settings) -> str:
    reasons: list[str] = []
    for name in PREFERRED:
        driver = make_driver(settings, name)
        try:
            health = await driver.probe()
        finally:
            await driver.aclose()
        if health.works:
            return name
        reasons += [f"{name}: {_one_line(problem.summary)}" for problem in health.problems[:1]]
    raise DriverUnavailable(
        f"no driver works on this machine ({'; '.join(reasons)}); "
        "`assay doctor` says what to do about it"
    )


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}…"


def _key(settings: Settings) -> str:
    programs = (
        str(lean_program(settings)),
        *(program_named(settings, name) for name in PREFERRED if name != OURS),
    )
    return " ".join((_BOOT.read_text().strip(), *map(_identity, programs)))


def _identity(program: str) -> str:
    """Changes when another file is found under the name, or the file itself changes."""
    found = shutil.which(program) or shutil.which(program, path=_SEARCHED)
    try:
        facts = Path(found).stat() if found else None
    except OSError:
        facts = None
    if facts is None:
        return f"{program}:none"
    return f"{found}:{facts.st_dev}:{facts.st_ino}:{facts.st_size}:{facts.st_mtime_ns}"


def _read(settings: Settings) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        finding = json.loads((settings.state / _FINDING).read_text())
        if isinstance(finding, dict):
            return finding
    return {}


def _keep(settings: Settings, finding: dict[str, str]) -> None:
    """As a matter of convenience: without it, the next run finds out again."""
    draft = settings.state / f".{_FINDING}-{os.getpid()}"
    with contextlib.suppress(AssayError, OSError):
        draft.write_text(json.dumps(finding))
        draft.replace(settings.state / _FINDING)
