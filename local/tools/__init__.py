"""Tools for maintainers: generated documents, costs, certificates, checks."""
