"""Measures the page on a dispatcher with many agents: `python -m tests.console.measure --password …`, by hand.

Prints, for each page, when its first content was shown, when its data was, and the longest task of its scripts, in
milliseconds.
"""

import argparse
import os
import sys

from playwright.sync_api import sync_playwright

from tests.console.conftest import environment
from tests.console.screen import Screen

PAGES = (
    "/console/",
    "/console/agents",
    "/console/agents?sort=oldestDue",
    "/console/commands",
    "/console/commands?status=pending",
)
OBSERVE = """
window.tasks = [0];
new PerformanceObserver((list) => list.getEntries().forEach((entry) => tasks.push(entry.duration)))
    .observe({type: "longtask", buffered: true});
"""


def main() -> None:
    """Open each page twice, without and with the browser's cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--password", required=True, help="of admin")
    asked = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CONSOLE_BROWSER"], env=environment())
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_init_script(OBSERVE)
        screen = Screen(context.new_page(), asked.url)
        screen.log_in("admin", asked.password)
        for address in (*PAGES, *PAGES):
            screen.open(address)
            shown = screen.page.evaluate("performance.now()")
            paint = screen.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            screen.page.wait_for_timeout(6_000)
            longest = max(screen.page.evaluate("tasks"))
            sys.stdout.write(f"{address}: paint {paint:.0f}, data {shown:.0f}, longest task {longest:.0f}\n")
        browser.close()


if __name__ == "__main__":
    main()
