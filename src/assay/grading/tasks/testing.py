"""Parts that are made of unit tests and of linters."""

from __future__ import annotations

from pathlib import PurePosixPath

from assay.environments.strict import require
from assay.grading.tasks import document, model
from assay.grading.tasks.bundle import Bundle

_ENDINGS = {
    model.Framework.UNITTEST: (".py",),
    model.Framework.PYTEST: (".py",),
    model.Framework.DOCTEST: (".cpp", ".cc", ".cxx"),
    model.Framework.JUNIT: (".java",),
    model.Framework.NODE_TEST: (".js", ".mjs", ".cjs"),
}


def unit_tests(key: str, part: document.UnitTests, bundle: Bundle) -> model.UnitTests:
    """A part with unit tests. Raises Mistake."""
    framework = model.Framework(part.framework)
    for name in part.tests:
        require(name in bundle.files, f"{key}.tests", f"there is no file {name!r}", "add it")
        require(
            name.endswith(_ENDINGS[framework]),
            f"{key}.tests",
            f"{name!r} is no file for {framework}",
            f"give files that end with {' or '.join(_ENDINGS[framework])}",
        )
    _require_own_names(key, part)
    _require_isolation(key, part, framework)
    return model.UnitTests(
        id=part.id,
        title=part.title,
        weight=part.weight,
        needs=tuple(part.needs),
        framework=framework,
        tests=tuple(part.tests),
        environment=part.environment,
        hidden=part.hidden,
        all_or_nothing=part.all_or_nothing,
        weights=part.weights,
        objects=tuple(part.objects),
        fresh=part.fresh,
        call_seconds=part.call_seconds,
        same_process=part.same_process,
    )


def _require_own_names(key: str, part: document.UnitTests) -> None:
    names = [PurePosixPath(name).stem for name in part.tests]
    require(
        len(set(names)) == len(names),
        f"{key}.tests",
        "two files have one name, whatever their folders",
        "rename one",
    )


def _require_isolation(key: str, part: document.UnitTests, framework: model.Framework) -> None:
    require(
        part.same_process or framework.isolates,
        f"{key}.same_process",
        f"with {framework} the learner's code is in the process of the tests, and a learner who"
        " wants to can forge their results",
        "say same_process = true if you can live with that, or use cases instead",
    )
    require(
        not part.same_process or not framework.isolates,
        f"{key}.same_process",
        f"with {framework} the learner's code is in a sandbox of its own",
        "leave it out",
    )
    unknown = [name for name in part.objects if "." not in name]
    require(
        not unknown,
        f"{key}.objects",
        f"{', '.join(unknown)}: a class is named with its module",
        'such as objects = ["shapes.Vector"]',
    )


def lint(part: document.Lint) -> model.Lint:
    """A part with a linter."""
    weights = {model.Severity(name): weight for name, weight in part.weights.items()}
    return model.Lint(
        id=part.id,
        title=part.title,
        weight=part.weight,
        needs=tuple(part.needs),
        tool=part.tool,
        environment=part.environment,
        arguments=tuple(part.arguments),
        most=part.most,
        weights={**model.SEVERITIES, **weights},
    )
