"""Runs one target in Python under atheris: `guided.py TARGET`, and what libFuzzer takes."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["assay"]):
    from target import load

    fuzz = load(sys.argv.pop(1))

atheris.Setup(sys.argv, fuzz)
atheris.Fuzz()
