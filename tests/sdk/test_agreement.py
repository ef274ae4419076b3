"""The client imports nothing of the server, so it says some things again: the same ones?"""

import pytest

from assay.api.errors import STATUS
from assay.domain import outcome
from assay_client import errors as theirs
from assay_client import values

OF_POSEIDON = {"NOMAD_OVERLOAD"}


def test_outcomes_have_the_same_names() -> None:
    assert {kind.value for kind in values.OutcomeKind} == {k.value for k in outcome.OutcomeKind}


def test_the_client_knows_no_code_that_the_server_does_not_send() -> None:
    assert set(theirs._OF_CODES) - OF_POSEIDON <= set(STATUS)


@pytest.mark.parametrize("code", sorted(STATUS))
def test_an_answer_keeps_its_code_and_has_a_class_of_its_kind(code: str) -> None:
    status = STATUS[code]
    error = theirs.from_response(status, b'{"code": "%s", "detail": "x"}' % code.encode())
    assert (error.code, error.status, str(error)) == (code, status, "x")
    own = theirs._OF_CODES.get(code)
    assert type(error) is (own or theirs._OF_STATUSES.get(status) or type(error))
    if status in (404, 410):
        assert isinstance(error, theirs.NotFound | theirs.RunnerGone | theirs.InvalidRequest)
    if status >= 500 and status not in (503, 507):
        assert isinstance(error, theirs.ServerFailed)
