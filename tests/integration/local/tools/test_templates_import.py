"""The import of templates reads YAML as StreamSpace's users have it, and tells what was refused."""

from pathlib import Path
from typing import Any

import pytest

from local.http_client import Client, Refused
from local.tools.templates_import import manifests, store

YAML = """
apiVersion: stream.space/v1alpha1
kind: Template
metadata:
  name: {name}
  namespace: workspaces
spec:
  baseImage: example/{name}:1
  released: 2026-11-23
  ports:
  - name: http
    containerPort: 8080
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Templates in several files and folders, beside other things."""
    (tmp_path / "browsers").mkdir()
    (tmp_path / "browsers" / "two.yaml").write_text(YAML.format(name="b") + "---" + YAML.format(name="a"))
    (tmp_path / "c.yml").write_text(YAML.format(name="c"))
    (tmp_path / "catalog.yaml").write_text("kind: Catalog\nmetadata: {name: x}\n---\n- a list\n---\n")
    (tmp_path / "nameless.yaml").write_text("kind: Template\nspec: {}\n")
    (tmp_path / "README.md").write_text("kind: Template")
    return tmp_path


def test_every_template_of_a_folder_is_read_as_json_can_say_it(folder: Path) -> None:
    """A port is an integer, and a date is a text."""
    found = list(manifests(folder))

    assert [each.name for each in found] == ["b", "a", "c", ""]
    assert found[0].content["spec"] == {
        "baseImage": "example/b:1",
        "released": "2026-11-23",
        "ports": [{"name": "http", "containerPort": 8080}],
    }


def test_a_refused_template_does_not_stop_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told with its file; a wrong token ends the import."""
    put: list[str] = []

    def call(_: Client, method: str, path: str, body: Any) -> None:
        if path.endswith("/a"):
            raise Refused(422, {"title": "Not valid", "detail": "body/spec"})
        assert method == "PUT"
        put.append(f"{path} {body['metadata']['name']}")

    monkeypatch.setattr(Client, "call", call)

    stored, refused = store(Client(url="http://127.0.0.1:1"), folder)

    assert stored == ["b", "c"]
    assert put == ["/api/v1/templates/b b", "/api/v1/templates/c c"]
    assert [reason.removeprefix(f"{folder}/") for reason in refused] == [
        "browsers/two.yaml: 422 Not valid: body/spec",
        "nameless.yaml: metadata.name is missing",
    ]


def test_a_token_that_may_not_change_templates_ends_the_import(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other template would be refused too."""

    def call(*_: Any) -> None:
        raise Refused(403, {"title": "Not allowed", "detail": "no"})

    monkeypatch.setattr(Client, "call", call)

    with pytest.raises(Refused):
        store(Client(url="http://127.0.0.1:1"), folder)
