"""Examples for the OpenAPI document, so that "Try it out" sends a request that makes sense."""

from typing import Any

PARAMETERS: dict[str, Any] = {
    "agent_id": "edge-1",
    "command_id": "cmd-0f8fad5bd9cb469fa16570867728950e",
    "key_id": "1b4e28ba-2fa1-41d2-883f-0016d3cca427",
    "name": "alice-firefox-0a1b2c3d",
    "token_id": "1b4e28ba-2fa1-41d2-883f-0016d3cca427",
    "username": "alice",
    "webhook_id": "1b4e28ba-2fa1-41d2-883f-0016d3cca427",
}
"""Examples of the parameters in paths, by name."""

_COMMAND = {"action": "restart", "payload": {"service": "web"}, "priority": 0, "ttlSeconds": 3600}

BODIES: dict[str, Any] = {
    "AgentRequest": {"agentId": "edge-1", "platform": "linux", "region": "eu-1", "labels": {"env": "prod"}},
    "AgentPatchRequest": {"labels": {"zone": "eu-1", "old": None}, "region": "eu-1"},
    "ApiTokenRequest": {"name": "nightly backup", "role": "sender", "ttlSeconds": 86400},
    "CodeRequest": {
        "code": "what the issuer gave",
        "codeVerifier": "the-proof-whose-hash-the-issuer-got-before-the-code",
        "redirectUri": "https://dispatcher.example.com/console/",
    },
    "BulkRequest": {
        "filter": {"action": "restart", "selector": "env=prod,!canary"},
        "dryRun": True,
        "reason": "wrong build",
    },
    "EnrolmentTokenRequest": {"prefix": "edge-", "labels": {"env": "prod"}, "approved": False, "uses": 10},
    "LoginRequest": {"username": "admin", "password": "the password that `make up` prints"},
    "OperatorRequest": {"password": "at least twelve characters", "role": "sender", "labels": {"env": "prod"}},
    "RedriveRequest": {"ttlSeconds": 3600},
    "RegisterRequest": {"agentId": "edge-1", "platform": "linux", "capacity": {"maxSessions": 10}},
    "SessionRequest": {"user": "alice", "template": "firefox-browser", "resources": {"memory": "1Gi", "cpu": "500m"}},
    "SubmitListRequest": [{"agentId": "edge-1", **_COMMAND}, {"agentId": "edge-2", **_COMMAND}],
    "SubmitRequest": _COMMAND,
    "SubmitToRequest": {"agentId": "edge-1", **_COMMAND},
    "SecretRequest": {"overlapSeconds": 86400},
    "TemplateManifest": {
        "apiVersion": "stream.space/v1alpha1",
        "kind": "Template",
        "metadata": {"name": "firefox-browser"},
        "spec": {
            "displayName": "Firefox",
            "baseImage": "linuxserver/firefox:latest",
            "ports": [{"name": "vnc", "containerPort": 3000, "protocol": "TCP"}],
        },
    },
    "WebhookPatchRequest": {"enabled": True, "resumeFrom": "now"},
    "WebhookRequest": {
        "url": "https://receiver.example/hooks/commands",
        "types": ["command.completed", "command.failed"],
        "selector": "env=prod",
    },
}
"""An example of each request body, by the name of its schema."""
