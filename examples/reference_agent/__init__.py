"""A complete agent: both protocols, a ledger that survives a reconnect, real processes as its sessions."""
