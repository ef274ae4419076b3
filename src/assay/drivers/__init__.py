"""Isolating technologies: each package is alone, and offers one driver."""
