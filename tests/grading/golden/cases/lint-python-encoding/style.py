# -*- coding: utf-7 -*-
"""Unwell."""

x = 1  +ACM- pylint: disable=all
