"""One trace from the publish to the browser, and logs that carry it."""
