"""The change feed: what happens to commands and agents, in one order; and the programs that pass it on."""
