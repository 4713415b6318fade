"""Lambda's execution environments as processes of this machine."""
