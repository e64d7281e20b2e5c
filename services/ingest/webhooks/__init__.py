"""Webhooks: requests that other services send when something happened, verified and made into events."""
