"""StreamSpace's sessions: optional, nothing else imports this package."""
