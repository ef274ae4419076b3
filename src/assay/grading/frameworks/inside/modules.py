"""A learner's modules, as tests import them: all that they ask of one is asked of its process."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import types
from collections.abc import Iterable
from typing import Any

from .channel import LearnerEnded
from .proxies import Learner, Remote


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of the learner's, and the packages above them."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._packages: set[str] = {
            ".".join(pieces[:count])
            for pieces in (name.split(".") for name in learner.modules)
            for count in range(1, len(pieces))
        }

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The loader of a learner's module is this one."""
        if name not in self._learner.modules and name not in self._packages:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=name in self._packages)

    def create_module(self, spec: Any) -> types.ModuleType:
        """A module in which nothing is: all is asked for."""
        return _Module(spec.name, self._learner)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is run here."""


class _Module(types.ModuleType):
    def __init__(self, name: str, learner: Learner) -> None:
        super().__init__(name)
        self.__dict__["_assay_remote"] = Remote(learner, {"p": [name]}, name=name)

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            raise ImportError("import names of the learner's module, not *")
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["_assay_remote"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            setattr(self.__dict__["_assay_remote"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__dict__["_assay_remote"], name)


class Names:
    """Names that test modules have imported from the learner's: each process gives them anew.

    A constant or a class of exceptions must be a real one, so it takes the place of what stands
    for it while a test runs.
    """

    def __init__(self, learner: Learner, namespaces: Iterable[dict[str, Any]]) -> None:
        self._learner = learner
        self._found = [
            (namespace, name, value)
            for namespace in namespaces
            for name, value in list(namespace.items())
            if type(value) is Remote
        ]

    def bind(self) -> None:
        """Ask for each; one that can't be had fails where it is used."""
        for namespace, name, remote in self._found:
            try:
                value = self._learner.request("value", remote._assay_reference)
            except LearnerEnded:
                return
            except BaseException:
                value = remote
            namespace[name] = remote if type(value) is Remote else value

    def release(self) -> None:
        """What stands for them is back."""
        for namespace, name, remote in self._found:
            namespace[name] = remote
