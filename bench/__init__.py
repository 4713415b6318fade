"""`make bench`: the dispatcher beside its peers, through HTTP and WebSockets, in one run on one machine."""
