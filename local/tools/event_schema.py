"""The JSON Schema of an event."""

import json
from typing import Any

from dispatcher.api.event_schemas import EventDocument
from dispatcher.events.publisher import SOURCE


def document() -> dict[str, Any]:
    """Return the schema of an event, which is the member `detail` on EventBridge."""
    schema = EventDocument.model_json_schema(by_alias=True, mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Event",
        "$comment": f"On EventBridge: source {SOURCE}, detail-type the event's type. Written by `make generated`.",
    }


def render() -> str:
    """Return the schema as the text of its file."""
    return json.dumps(document(), indent=2) + "\n"
