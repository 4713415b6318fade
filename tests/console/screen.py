"""What an operator does at the screen, and what the browser complains about."""

import json
import os
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

PATIENCE = 20_000
"""Milliseconds for anything to happen on a busy machine."""
expect.set_options(timeout=PATIENCE)


class Screen:
    """The operators' page in one tab."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        """Errors of scripts, breaches of the content security policy, and dialogs that no script of ours opens."""
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _hear(self, kind: str, text: str) -> None:
        # A request that the service refuses is no fault of the page.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def log_in(self, username: str, password: str, path: str = "/console/") -> None:
        """Log in at an address, and wait until its page is shown."""
        self.page.goto(self.url + path)
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in", exact=True).click()
        self.ready()

    def open(self, path: str) -> None:
        """Open an address as from a bookmark, and wait until its page is shown."""
        self.page.goto(self.url + path)
        self.ready()

    def ready(self) -> None:
        """Wait until the page has read what it shows."""
        expect(self.page.locator("main#main")).to_have_attribute("aria-busy", "false")

    def button(self, name: str) -> Locator:
        """The button of this name on the page, outside of dialogs."""
        return self.page.locator("main").get_by_role("button", name=name, exact=True).first

    def row(self, text: str) -> Locator:
        """The row of a table that contains a text."""
        return self.page.get_by_role("row").filter(has_text=text)

    def see(self, text: str) -> None:
        """Wait until the page shows a text."""
        expect(self.page.locator("main#main")).to_contain_text(text)

    def confirm(self, button: str, reason: str = "because of the test", **fields: str) -> None:
        """Fill in the dialog and confirm it."""
        dialog = self.page.get_by_role("dialog")
        for label, value in fields.items():
            dialog.get_by_label(label.replace("_", " ")).fill(value)
        if reason:
            dialog.get_by_label("Reason").fill(reason)
        confirmed = dialog.get_by_role("button", name=button, exact=True)
        confirmed.click()
        expect(confirmed).to_have_count(0)

    def secret(self) -> str:
        """Return the secret that a dialog shows once, and close the dialog."""
        dialog = self.page.get_by_role("dialog")
        secret = dialog.locator(".secret").inner_text()
        dialog.get_by_role("button", name="I have saved it").click()
        return secret

    def barriers(self, rule: str | None = None) -> list[str]:
        """Return what axe-core finds, by one rule or by all."""
        axe = (Path(os.environ["CONSOLE_TOOLS"]) / "node_modules/axe-core/axe.min.js").read_text()
        # Evaluated through the debugger, which no content security policy forbids.
        self.page.evaluate(f"() => {{ {axe} }}")
        options = {"resultTypes": ["violations"], **({"runOnly": [rule]} if rule else {})}
        found: dict[str, Any] = self.page.evaluate("(options) => axe.run(document, options)", options)
        return [
            f"{each['id']}: {json.dumps([node['html'][:200] for node in each['nodes'][:3]])}"
            for each in found["violations"]
        ]
