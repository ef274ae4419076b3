"""Trying a task before learners do: what must have full marks, and what must not."""
