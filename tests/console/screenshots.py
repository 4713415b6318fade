"""Takes pictures of every page, to look at: `python -m tests.console.screenshots --password … FOLDER`, by hand.

Three widths, both themes; CONSOLE_BROWSER names the browser.
"""

import argparse
import os
from pathlib import Path

from playwright.sync_api import sync_playwright

from local.http_client import Client
from tests.console.conftest import environment
from tests.console.screen import Screen

WIDTHS = (360, 1280, 2560)
PAGES = ("", "agents", "commands", "send", "sessions", "webhooks", "operators", "audit")


def main() -> None:
    """Take the pictures of a dispatcher that tests.console.fill has filled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--password", required=True, help="of admin")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    client = Client.log_in(asked.url, "admin", asked.password)
    items = [f"agents/{agent['agentId']}" for agent in client.get("/api/v1/agents?limit=1")["agents"]]
    items += [
        f"commands/{command['commandId']}"
        for status in ("completed", "acknowledged", "dead")
        for command in client.get(f"/api/v1/commands?status={status}&limit=1")["commands"]
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CONSOLE_BROWSER"], env=environment())
        for width in WIDTHS:
            for theme in ("light", "dark"):
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
                screen = Screen(context.new_page(), asked.url)
                screen.log_in("admin", asked.password)
                for address in (*PAGES, *items):
                    screen.open(f"/console/{address}")
                    screen.page.wait_for_timeout(700)  # the chart is drawn, and the timeline read
                    name = f"{address.replace('/', '-') or 'overview'}-{width}-{theme}.png"
                    screen.page.screenshot(path=asked.folder / name, full_page=width < 500)
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
