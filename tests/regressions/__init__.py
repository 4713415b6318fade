"""The original's regressions, put back on purpose: each of them must turn a test red."""
