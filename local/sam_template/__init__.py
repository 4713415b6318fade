"""What template.yaml deploys, read from it."""
