"""Requests of every kind that the document allows, and many that it does not: no 500, ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS
from whole_server import settings_in, whole_server

from assay.api.openapi import openapi
from assay.api.route import PREFIX

pytestmark = pytest.mark.slow
EXAMPLES = 8
ENDLESS = (f"{PREFIX}/events", f"{PREFIX}/runners/{{runner_id}}/ports/{{port}}/{{path}}")
"""Answers without an end, and answers that learners write: nothing of ours to compare."""
SCHEMA = schemathesis.openapi.from_dict(openapi())
OPERATIONS = {
    f"{each.method.upper()} {each.path}": each
    for each in (result.ok() for result in SCHEMA.get_all_operations())
    if each.path not in ENDLESS
}
LIMITS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("any-request")
    folder.chmod(0o700)
    with whole_server(settings_in(folder, most_sandboxes=40, allow_host_images=True)) as url:
        yield url


class Caller:
    """Sends cases; half of those about runners are about one that is there."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.count = 0

    def runner(self) -> str:
        found = self.session.get(f"{self.url}{PREFIX}/runners", timeout=10).json()["runners"]
        if found:
            return str(found[0]["runnerId"])
        answer = self.session.post(
            f"{self.url}{PREFIX}/runners", json={"environment": "bash"}, timeout=20
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["runnerId"])

    def send(self, case: Any) -> Any:
        self.count += 1
        if "runner_id" in (case.path_parameters or {}) and self.count % 2:
            case.path_parameters["runner_id"] = self.runner()
        if isinstance(case.body, dict) and isinstance(case.body.get("image"), str):
            case.body["image"] = "host"  # no test asks a registry
        response = case.call(base_url=self.url, session=self.session, timeout=20)
        if case.operation.method.upper() == "POST" and response.status_code == 200:
            made = json.loads(response.content or b"{}").get("runnerId")
            if made:
                self.session.delete(f"{self.url}{PREFIX}/runners/{made}", timeout=20)
        return response


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_is_answered_with_a_failure_of_the_server(name: str, server: str) -> None:
    caller = Caller(server)

    @LIMITS
    @given(case=OPERATIONS[name].as_strategy())
    def send(case: Any) -> None:
        response = caller.send(case)
        checks = CHECKS.get_by_names(
            ["not_a_server_error", "status_code_conformance", "content_type_conformance",
             "response_schema_conformance"]
        )  # fmt: skip
        case.validate_response(response, checks=checks)

    send()
    caller.session.close()
