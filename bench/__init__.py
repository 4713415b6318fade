"""The product measured beside the raw database."""
