"""StreamSpace's sessions: optional; no other package imports this one."""
