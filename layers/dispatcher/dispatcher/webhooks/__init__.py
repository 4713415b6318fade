"""Webhooks: tell other programs of events by signed HTTPS requests, in order, until they have answered."""
