"""An agent for the deployments of its namespace, in a pod: it speaks the API of Kubernetes with its service account."""

import json
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from command_dispatcher import Agent, Reject

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
agent = Agent()


def ask(method: str, deployment: str, body: Any = None) -> Any:
    """Send a request about a deployment; raises Reject with the words of Kubernetes if it refuses."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    namespace = (ACCOUNT / "namespace").read_text()
    path = f"apis/apps/v1/namespaces/{namespace}/deployments/{quote(deployment, safe='')}"
    request = Request(
        f"https://{host}:{port}/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
            "Content-Type": "application/strategic-merge-patch+json",
        },
    )
    try:
        with urlopen(request, context=ssl.create_default_context(cafile=ACCOUNT / "ca.crt"), timeout=30) as response:  # noqa: S310
            return json.load(response)
    except HTTPError as error:
        with error:
            raise Reject(json.load(error)["message"]) from None


@agent.on("status", idempotent=True, concurrent=True)
def status(deployment: str) -> dict[str, int]:
    """Count the replicas of a deployment."""
    found = ask("GET", deployment)
    return {"wanted": found["spec"]["replicas"], "ready": found["status"].get("readyReplicas", 0)}


@agent.on("scale", idempotent=True)
def scale(deployment: str, replicas: int) -> dict[str, int]:
    """Change the number of replicas."""
    return {"wanted": ask("PATCH", deployment, {"spec": {"replicas": replicas}})["spec"]["replicas"]}


@agent.on("restart")
def restart(deployment: str) -> None:
    """Replace all pods, one after another, as `kubectl rollout restart` does."""
    annotations = {"kubectl.kubernetes.io/restartedAt": datetime.now(UTC).isoformat()}
    ask("PATCH", deployment, {"spec": {"template": {"metadata": {"annotations": annotations}}}})


if __name__ == "__main__":
    agent.run()
