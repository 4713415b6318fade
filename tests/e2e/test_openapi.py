"""Valid and invalid requests get answers that the OpenAPI document describes."""

import contextlib
from typing import Any, cast

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error  # pyright: ignore[reportUnknownVariableType]
from schemathesis.specs.openapi import checks

from tests.e2e.dispatcher_process import PASSWORD, Dispatcher

CHECKS: list[Any] = [not_a_server_error, checks.content_type_conformance, checks.response_schema_conformance]
EXAMPLES = 8


def test_no_request_is_a_server_error(dispatcher: Dispatcher) -> None:
    """Property-based tests of every operation, with valid and invalid requests."""
    document = cast("Any", schemathesis.openapi.from_url(f"{dispatcher.url}/openapi.json"))
    probed = 0

    for operation in (result.ok() for result in document.get_all_operations()):
        token = dispatcher.client().token  # a new one: one of the operations is the log-out
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            )
            def probe(case: Case[Any]) -> None:
                if case.query and case.query.get("wait") in range(1, 21):
                    case.query["wait"] = 1  # a request that waits for events proves no more by waiting longer
                response = case.call(headers={"Authorization": f"Bearer {token}"})  # noqa: B023 - it is called in this round
                case.validate_response(response, checks=CHECKS)
                assert PASSWORD not in response.text

            with contextlib.suppress(Unsatisfiable):  # some operations accept anything
                probe()
                probed += 1

    assert probed > 50
