"""Unit tests of teachers, by the frameworks that they know. docs/unit-tests.md is the guide."""
