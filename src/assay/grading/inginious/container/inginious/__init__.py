"""The name that `inginious_container_api` had before; its modules are the same ones."""

import importlib
import sys

DEBUG = False
_NAMES = ("feedback", "input", "lang", "rst", "run_student", "run_types", "ssh_student", "utils")


class _Finder:
    """Gives `inginious.NAME` the module of the new name, when somebody asks for it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        first, _, rest = name.partition(".")
        if first != "inginious" or rest not in _NAMES:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, _Finder)

    @staticmethod
    def create_module(spec):
        return importlib.import_module("inginious_container_api" + spec.name[len("inginious") :])

    @staticmethod
    def exec_module(module):
        """It has run already."""


sys.meta_path.insert(0, _Finder)


def __getattr__(name):
    if name in _NAMES:
        return importlib.import_module("inginious." + name)
    raise AttributeError(name)
