"""What all nodes can do, from what each says of its driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any, Final

from assay.driver.port import Capabilities, Cleanup

USUAL: Final = Capabilities(devices=True, images_in_place=False)
"""Of lean: what is believed of nodes of which none could be asked yet."""
_SAME: Final = ("cleanup", "own_kernel", "kernel_memory_bytes")
"""What is no better or worse, but has to be the same for all."""
_OURS: Final = ("images_in_place",)
"""What the way to a node decides, and not its driver."""


def told(able: Capabilities) -> dict[str, bool | int | str]:
    """For a message."""
    return {
        name: str(value) if name == "cleanup" else value for name, value in asdict(able).items()
    }


def heard(said: Mapping[str, Any]) -> Capabilities | None:
    """From a message; None for what can be of no driver that is known here.

    What is not said is not there; what is said besides is of another release, and passed over.
    """
    try:
        cleanup = Cleanup(said.get("cleanup", ""))
    except ValueError:
        return None
    values: dict[str, Any] = {"cleanup": cleanup}
    for field in fields(Capabilities):
        if field.name == "cleanup":
            continue
        kind = int if field.name == "kernel_memory_bytes" else bool
        value = said.get(field.name, kind())
        if type(value) is not kind or value < 0:
            return None
        values[field.name] = value
    return replace(Capabilities(**values), images_in_place=False)


def common(all_: Iterable[Capabilities]) -> Capabilities:
    """What every one of them can do. Those that are too different from the first don't count."""
    known = list(all_)
    if not known:
        return USUAL
    alike = [each for each in known if is_alike(each, known[0])]
    shared: dict[str, Any] = {
        field.name: all(getattr(each, field.name) for each in alike)
        for field in fields(Capabilities)
        if field.name not in _SAME
    }
    return replace(known[0], **shared)


def is_alike(one: Capabilities, other: Capabilities) -> bool:
    """Whether sandboxes of both can be looked at in the same way."""
    return all(getattr(one, name) == getattr(other, name) for name in _SAME)


def lacking(able: Capabilities, wanted: Capabilities) -> list[str]:
    """The names of what a node lacks that is promised of all."""
    if not is_alike(able, wanted):
        return [name for name in _SAME if getattr(able, name) != getattr(wanted, name)]
    names = [field.name for field in fields(Capabilities) if field.name not in (*_SAME, *_OURS)]
    return [name for name in names if getattr(wanted, name) and not getattr(able, name)]
