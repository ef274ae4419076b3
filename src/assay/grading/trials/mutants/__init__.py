"""Small mistakes, made in a right program: functions of its text."""

from assay.grading.trials.mutants.choice import chosen, mutants_of
from assay.grading.trials.mutants.mutant import Mutant

__all__ = ["Mutant", "chosen", "mutants_of"]
