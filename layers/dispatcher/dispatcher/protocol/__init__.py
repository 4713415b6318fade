"""The agents' protocol, without input or output: decode their messages, build messages for them."""
