"""What maintainers run: generated documents, costs, certificates, checks."""
