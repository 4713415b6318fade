"""A complete agent: it speaks both protocols, executes each command once, and runs real processes as its sessions."""
