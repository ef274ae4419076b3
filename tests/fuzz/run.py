"""Runs fuzzing targets for a time each, one after the other: `./dev fuzz`.

What is found beyond the corpus in the tree stays in `.fuzz/TARGET`, where the next run starts.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

from target import HERE, PROGRAMS, in_python, names

FOUND = HERE.parent.parent / ".fuzz"
LIMITS = ("-max_len=16384", "-timeout=20", "-rss_limit_mb=2048")
COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")
STATISTIC = re.compile(r"^stat::(\w+): +(\d+)", re.MULTILINE)


class Result(NamedTuple):
    """What a run of one target came to; `coverage` counts edges, `features` what they did."""

    target: str
    executions: int
    per_second: int
    coverage: int
    features: int
    found: int
    crashes: tuple[Path, ...]


def main() -> int:
    arguments = parse_arguments()
    targets = arguments.targets or names()
    unknown = set(targets) - set(names())
    if unknown:
        sys.exit(f"no such target: {', '.join(unknown)}; there are: {', '.join(names())}")
    if arguments.input is not None:
        return call([*command(targets[0]), str(arguments.input)], None)
    results = [fuzz(target, arguments.seconds) for target in targets]
    return 1 if any(result.crashes for result in results) else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(names()))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--input", type=Path, help="run TARGET once, with this file")
    return parser.parse_args()


def command(target: str) -> list[str]:
    if in_python(target):
        return [sys.executable, str(HERE / "guided.py"), target, *LIMITS]
    return [str(PROGRAMS / target), *LIMITS]


def fuzz(target: str, seconds: int) -> Result:
    folder = FOUND / target
    corpus, log = folder / "corpus", folder / "log"
    corpus.mkdir(parents=True, exist_ok=True)
    print(f"{target:10} {seconds} s ... ", end="", flush=True)
    line = [
        *command(target),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        str(corpus),
        str(HERE / target / "corpus"),
    ]
    with log.open("wb") as output:
        status = call(line, output)
    result = read_log(target, log, status)
    report(result, log)
    return result


def call(line: list[str], output: IO[bytes] | None) -> int:
    """Run it with a folder for its files, in memory, that is gone afterwards, crash or not."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        return subprocess.call(
            line,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "TMPDIR": folder},
        )


def read_log(target: str, log: Path, status: int) -> Result:
    text = log.read_text(errors="replace")
    statistics = {name: int(value) for name, value in STATISTIC.findall(text)}
    coverage = COVERAGE.findall(text) or [("0", "0")]
    crashes = re.findall(r"Test unit written to (\S+)", text)
    if status and not crashes:
        sys.exit(f"{target} could not run (exit status {status}), see {log}:\n{text[-2000:]}")
    return Result(
        target=target,
        executions=statistics.get("number_of_executed_units", 0),
        per_second=statistics.get("average_exec_per_sec", 0),
        coverage=int(coverage[-1][0]),
        features=int(coverage[-1][1]),
        found=statistics.get("new_units_added", 0),
        crashes=tuple(map(Path, crashes)),
    )


def report(result: Result, log: Path) -> None:
    print(
        f"{result.executions:,} executions, {result.per_second:,}/s, coverage {result.coverage}"
        f" ({result.features} features), {result.found} new inputs, {len(result.crashes)} crashes"
    )
    for crash in result.crashes:
        print(f"  {log}: what happened; again: ./dev fuzz --input {crash} {result.target}")


if __name__ == "__main__":
    sys.exit(main())
