"""Which mutants are tried: always the same ones of the same task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from assay.environments import Syntax
from assay.grading.trials.mutants import python, tokens
from assay.grading.trials.mutants.mutant import Mutant


def mutants_of(sources: Mapping[str, bytes], syntax: Syntax) -> list[Mutant]:
    """All mutants of some files; of what is no UTF-8, none."""
    made = []
    for file, content in sources.items():
        try:
            source = content.decode()
        except UnicodeDecodeError:
            continue
        if syntax.grammar == "python":
            made += python.mutants(file, source)
        else:
            made += tokens.mutants(file, source, syntax)
    return made


def chosen(mutants: Sequence[Mutant], most: int, digest: str) -> list[Mutant]:
    """At most so many, drawn by the task's digest, in the order of the text."""
    drawn = sorted(mutants, key=lambda mutant: _drawn(mutant, digest))[:most]
    taken = {id(mutant) for mutant in drawn}
    return [mutant for mutant in mutants if id(mutant) in taken]


def _drawn(mutant: Mutant, digest: str) -> bytes:
    return hashlib.sha256(f"{digest}\n{mutant}\n{mutant.source}".encode()).digest()
