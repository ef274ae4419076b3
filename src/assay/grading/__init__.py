"""Tasks, submissions, and what they are worth: see docs/tasks.md and docs/queue.md."""
