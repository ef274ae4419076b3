"""What is fuzzed: a folder beside this file for each target, with its corpus.

A folder with a `target.py` holds a function `fuzz(data: bytes)`, which raises when something is
wrong. Every other one is a program that `make -C agent fuzz` builds.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE.parent.parent / "agent" / "fuzz" / "build"


def names() -> list[str]:
    return sorted(corpus.parent.name for corpus in HERE.glob("*/corpus"))


def in_python(name: str) -> bool:
    return (HERE / name / "target.py").is_file()


def corpus(name: str) -> list[Path]:
    return sorted((HERE / name / "corpus").iterdir())


def load(name: str) -> Callable[[bytes], None]:
    """Import a target's function."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", HERE / name / "target.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[bytes], None] = module.fuzz
    return found
