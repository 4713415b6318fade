"""The smallest agent that does something."""
