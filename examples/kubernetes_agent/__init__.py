"""An agent for the deployments of one namespace."""
