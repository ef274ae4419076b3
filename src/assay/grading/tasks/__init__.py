"""Tasks: folders with a `task.toml`, and what learners hand in. docs/tasks.md is the guide."""

from assay.grading.tasks.bundle import Bundle, bundle_of
from assay.grading.tasks.course import Course, load_course
from assay.grading.tasks.loader import FILE, load_task
from assay.grading.tasks.model import (
    Case,
    Cases,
    Checker,
    CheckerKind,
    Choice,
    Compiles,
    LateFactor,
    Match,
    Part,
    Question,
    RandomCases,
    Rules,
    Task,
)
from assay.grading.tasks.submission import Submission, submission_of

__all__ = [
    "FILE",
    "Bundle",
    "Case",
    "Cases",
    "Checker",
    "CheckerKind",
    "Choice",
    "Compiles",
    "Course",
    "LateFactor",
    "Match",
    "Part",
    "Question",
    "RandomCases",
    "Rules",
    "Submission",
    "Task",
    "bundle_of",
    "load_course",
    "load_task",
    "submission_of",
]
