"""How tests that are linked with a learner's code are built and run, in Debian's packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from assay.grading.frameworks.xml_reports import Tested, doctest_report, junit_report
from assay.grading.tasks.model import Framework

_JARS: Final = ":".join(
    f"/usr/share/java/{name}.jar"
    for name in (
        "junit-jupiter-api", "junit-jupiter-engine", "junit-jupiter-params",
        "junit-platform-commons", "junit-platform-engine", "junit-platform-launcher",
        "junit-platform-console", "junit-platform-reporting", "picocli", "opentest4j",
        "apiguardian-api", "univocity-parsers",
    )
)  # fmt: skip
_JAVA: Final = ("-Xms16m", "-XX:+UseSerialGC", "-XX:-UseContainerSupport", "-XX:-UsePerfData")
_GXX: Final = ("/usr/bin/g++", "-std=gnu++20", "-O1", "-g0")
_BINARY: Final = "assay-tests"


@dataclass(frozen=True, kw_only=True, slots=True)
class Half:
    """What a framework has of its own in each program of tests, made for all of them at once."""

    sources: Mapping[str, bytes]
    compile: tuple[str, ...]
    made: str
    """The file that is linked with what is compiled later."""


_DOCTEST_MAIN: Final = Half(
    sources={
        "assay_doctest_main.cpp": b"#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN\n"
        b"#include <doctest/doctest.h>\n"
    },
    compile=(*_GXX, "-c", "assay_doctest_main.cpp"),
    made="assay_doctest_main.o",
)
"""Five seconds of a compiler's, where a learner's program and its tests take half a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolchain:
    """One framework."""

    endings: tuple[str, ...]
    """Of files that are compiled."""
    compile: tuple[str, ...]
    """Sources come after it."""
    made: tuple[str, ...]
    """Endings of what is taken from the compiler's sandbox to the one in which it runs."""
    run: Callable[[str], tuple[str, ...]]
    """How it is started so that it reports to a place with this name."""
    report: Callable[[str], str]
    """The file that it then writes."""
    read: Callable[[bytes], Mapping[str, Tested]]
    """What that says. Raises NoReport."""
    half: Half | None = None
    package: str


TOOLCHAINS: Final[Mapping[Framework, Toolchain]] = MappingProxyType(
    {
        Framework.DOCTEST: Toolchain(
            endings=(".cpp", ".cc", ".cxx", ".c"),
            compile=(*_GXX, "-I.", "-o", _BINARY),
            made=(_BINARY,),
            run=lambda place: (f"./{_BINARY}", "--reporters=xml", f"--out={place}"),
            report=lambda place: place,
            read=doctest_report,
            half=_DOCTEST_MAIN,
            package="doctest-dev",
        ),
        Framework.JUNIT: Toolchain(
            endings=(".java",),
            compile=(
                "/usr/bin/javac", "-J-Xmx160m", *(f"-J{each}" for each in _JAVA),
                "-J-XX:TieredStopAtLevel=1", "-proc:none", "-encoding", "UTF-8",
                "-cp", _JARS, "-d", ".",
            ),
            made=(".class",),
            run=lambda place: (
                "/usr/bin/java", *_JAVA, "-XX:TieredStopAtLevel=1", "-cp", f".:{_JARS}",
                "org.junit.platform.console.ConsoleLauncher", "--scan-classpath=.",
                f"--reports-dir={place}", "--disable-banner", "--details=none",
            ),
            report=lambda place: f"{place}/TEST-junit-jupiter.xml",
            read=junit_report,
            package="junit5",
        ),
    }
)  # fmt: skip
