"""Bodies about templates: StreamSpace's object of kind Template.  Members that are not named here are kept."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from dispatcher.api.schema_base import Document

Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Port = Annotated[int, Field(ge=1, le=65535)]
PortName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$")]
TemplateName = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
]


class Manifest(BaseModel):
    """A part of a manifest: types are not converted."""

    model_config = ConfigDict(extra="allow", strict=True, alias_generator=to_camel, frozen=True)


class TemplateResources(Manifest):
    """What a session gets if its start does not say, in Kubernetes' units."""

    memory: Text | None = None
    cpu: Text | None = None


class TemplatePort(Manifest):
    """A port of the container.  It is a number: agents read a text as 0."""

    name: PortName
    container_port: Port
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class TemplateVariable(Manifest):
    """An environment variable of the container."""

    name: Text
    value: str | None = None


class TemplateMount(Manifest):
    """A volume that is mounted into the container."""

    name: Text
    mount_path: Annotated[str, StringConstraints(max_length=1024, pattern=r"^/")]


class TemplateVnc(Manifest):
    """The desktop that the container shows."""

    enabled: bool = False
    port: Port | None = None


class TemplateSpec(Manifest):
    """How a session of the template runs."""

    base_image: Text
    display_name: str | None = None
    app_type: str | None = None
    default_resources: TemplateResources | None = None
    ports: Annotated[list[TemplatePort], Field(max_length=100)] | None = None
    env: Annotated[list[TemplateVariable], Field(max_length=1000)] | None = None
    volume_mounts: Annotated[list[TemplateMount], Field(max_length=100)] | None = None
    kasmvnc: TemplateVnc | None = None
    vnc: TemplateVnc | None = None
    capabilities: Annotated[list[str], Field(max_length=100)] | None = None


class TemplateMetadata(Manifest):
    """The name of the template."""

    name: TemplateName


class TemplateManifest(Manifest):
    """StreamSpace's Template."""

    api_version: Text
    kind: Literal["Template"]
    metadata: TemplateMetadata
    spec: TemplateSpec

    def to_manifest(self) -> dict[str, Any]:
        """Return the manifest as it was given; a port without a protocol gets TCP, because Docker needs one."""
        manifest: dict[str, Any] = self.model_dump(by_alias=True, exclude_unset=True)
        ports: list[dict[str, Any]] = manifest["spec"].get("ports") or []
        for port in ports:
            port.setdefault("protocol", "TCP")
        return manifest


class TemplatePage(Document):
    """A page of templates, ordered by name."""

    templates: list[dict[str, Any]]
    next_cursor: str | None
