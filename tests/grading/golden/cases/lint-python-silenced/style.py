"""Unwell."""
import os  # noqa # pylint: disable=unused-import
