"""A real PostgreSQL that lives as long as the process that starts it."""
