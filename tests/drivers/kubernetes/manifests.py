"""The files of deploy/kubernetes: the chart in deploy/helm, nothing chosen but all of its parts.

manifests.py      write them anew, by helm
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DEPLOY = Path(__file__).parents[3] / "deploy"
CHART = DEPLOY / "helm/assay"
MANIFESTS = DEPLOY / "kubernetes"
NAMES = ("namespace", "network", "access", "disruption", "server", "nodes", "runtime-class")
_ALL = ("--set", "nodes.enabled=true", "--set", "runtimeClass.create=true")


def render(*more: str) -> str:
    """What helm makes of the chart. Raises CalledProcessError."""
    return subprocess.run(
        ["helm", "template", "assay", str(CHART), "--namespace", "assay",
         "--kube-version", "1.34.0", *more], check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip


def rendered() -> Mapping[str, str]:
    """What the files are to hold, by their names."""
    return {f"{name}.yaml": _tidy(render("-s", f"templates/{name}.yaml", *_ALL)) for name in NAMES}


def _tidy(text: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith("# Source: ")]
    while lines and lines[0] == "---":
        del lines[0]
    return "\n".join(lines).replace("---\n---\n", "---\n") + "\n"


def main() -> int:
    if shutil.which("helm") is None:
        print("the program helm is not on the PATH", file=sys.stderr)
        return 2
    MANIFESTS.mkdir(exist_ok=True)
    for name, text in rendered().items():
        (MANIFESTS / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
