"""Execution environments: folders of data that say how programs of one language are run."""

from assay.environments.interpreter import interpreter_of
from assay.environments.loader import bundled_folder, load, load_all
from assay.environments.model import (
    Ceilings,
    ExecutionEnvironment,
    JobeLanguage,
    Program,
    Step,
    StepKind,
    Syntax,
    Tool,
    Trials,
)
from assay.environments.placement import placed
from assay.environments.plan import Plan, command_in, plan, plan_program
from assay.environments.selection import for_file, select
from assay.environments.served import Blueprint, Origin, ServedEnvironment
from assay.environments.tools import HOST, MissingTool, missing_tools, require_tools

__all__ = [
    "HOST",
    "Blueprint",
    "Ceilings",
    "ExecutionEnvironment",
    "JobeLanguage",
    "MissingTool",
    "Origin",
    "Plan",
    "Program",
    "ServedEnvironment",
    "Step",
    "StepKind",
    "Syntax",
    "Tool",
    "Trials",
    "bundled_folder",
    "command_in",
    "for_file",
    "interpreter_of",
    "load",
    "load_all",
    "missing_tools",
    "placed",
    "plan",
    "plan_program",
    "require_tools",
    "select",
]
