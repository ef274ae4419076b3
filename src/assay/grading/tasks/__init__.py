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
    Framework,
    LateFactor,
    Lint,
    Match,
    Part,
    Question,
    RandomCases,
    Rules,
    Severity,
    Task,
    UnitTests,
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
    "Framework",
    "LateFactor",
    "Lint",
    "Match",
    "Part",
    "Question",
    "RandomCases",
    "Rules",
    "Severity",
    "Submission",
    "Task",
    "UnitTests",
    "bundle_of",
    "load_course",
    "load_task",
    "submission_of",
]
