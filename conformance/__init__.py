"""`make conformance`: plays the service to somebody's agent, and tells its author what it gets wrong of the protocol."""
