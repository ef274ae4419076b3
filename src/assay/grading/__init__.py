"""Tasks, submissions, and what they are worth: see docs/grading.md."""
