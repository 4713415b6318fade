"""Whatever the OpenAPI document allows, and much that it does not, gets an answer that the document knows."""

import contextlib

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from tests.end_to_end.conftest import PASSWORD, Dispatcher

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
EXAMPLES = 8


def test_no_request_is_a_server_error(dispatcher: Dispatcher) -> None:
    """Property-based, over every operation, with what fits the document and with what does not."""
    token = dispatcher.client().token
    document = schemathesis.openapi.from_url(f"{dispatcher.url}/openapi.json")
    probed = 0

    for result in document.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def probe(case: Case) -> None:
                response = case.call(headers={"Authorization": f"Bearer {token}"})
                case.validate_response(response, checks=CHECKS)
                assert PASSWORD not in response.text

            with contextlib.suppress(Unsatisfiable):  # some operations have nothing that could be wrong
                probe()
                probed += 1

    assert probed > 50
