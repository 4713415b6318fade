"""The conformance kit: it plays the service to an agent and reports where the agent breaks docs/protocol.md."""
