"""`make generated`: write the documents that are generated from the code: OpenAPI, the client of it, and others."""

import json
import sys
from pathlib import Path

from dispatcher.commands.lifecycle import ENDED, TRANSITIONS, Status
from local.tools import (
    cli_reference,
    client_code,
    event_schema,
    figures,
    openapi,
    operations_reference,
    problems,
    python_reference,
)

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients/python/src/command_dispatcher/client"


def files() -> dict[Path, str]:
    """Return each generated file and its text."""
    document = openapi.render()
    return {
        ROOT / "layers/dispatcher/dispatcher/api/openapi.json": document,
        ROOT / "layers/dispatcher/dispatcher/api/paths.json": openapi.paths(),
        ROOT / "docs/reference/events.schema.json": event_schema.render(),
        ROOT / "docs/reference/problems.md": problems.render(),
        ROOT / "docs/reference/states.md": states(),
        ROOT / "docs/reference/figures.md": figures.render(),
        ROOT / "docs/reference/cli.md": cli_reference.render(),
        ROOT / "docs/reference/python.md": python_reference.render(),
        ROOT / "docs/reference/operations.md": operations_reference.render(json.loads(document)),
        **{CLIENT / name: text for name, text in client_code.render(json.loads(document)).items()},
    }


def states() -> str:
    """Draw `lifecycle.TRANSITIONS` as a Mermaid diagram and as a table."""
    arrows = sorted(
        (source, transition.target, move.replace("_", " "))
        for move, transition in TRANSITIONS.items()
        for source in transition.sources
    )
    lines = [
        "# States of a command",
        "",
        "Written by `make generated` from `TRANSITIONS` in `dispatcher/commands/lifecycle.py`. One test compares the two,",
        "another one tries every pair of statuses on the real tables.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> pending: accept",
        *(f"    {source} --> {target}: {move}" for source, target, move in arrows),
        *(f"    {status} --> [*]" for status in sorted(ENDED)),
        "```",
        "",
        "| move | from | to |",
        "|---|---|---|",
        *(
            f"| {move.replace('_', ' ')} | {', '.join(sorted(transition.sources))} | {transition.target} |"
            for move, transition in TRANSITIONS.items()
        ),
        "",
        f"Ends: {', '.join(status for status in Status if status in ENDED)}. An end is final, with one exception:",
        "`timed_out` is the service's guess, and the agent's real result replaces it. To redrive a command submits a new",
        "command that names the old one.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text)
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
