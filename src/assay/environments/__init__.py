"""Execution environments: folders of data that say how programs of one language are run."""

from assay.environments.loader import bundled_folder, load, load_all
from assay.environments.model import (
    Ceilings,
    ExecutionEnvironment,
    Program,
    Step,
    StepKind,
    Tool,
)
from assay.environments.plan import Plan, plan, plan_program
from assay.environments.selection import for_file, select
from assay.environments.tools import MissingTool, missing_tools, require_tools

__all__ = [
    "Ceilings",
    "ExecutionEnvironment",
    "MissingTool",
    "Plan",
    "Program",
    "Step",
    "StepKind",
    "Tool",
    "bundled_folder",
    "for_file",
    "load",
    "load_all",
    "missing_tools",
    "plan",
    "plan_program",
    "require_tools",
    "select",
]
