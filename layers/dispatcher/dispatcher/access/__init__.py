"""Who may do what: passwords, keys, tokens, roles, label limits, OpenID Connect, the audit log."""
