"""`carillon dev`: every service in one process on the embedded backends, with a page to try it."""
