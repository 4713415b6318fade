"""Reads template.yaml: the resources that it deploys."""
