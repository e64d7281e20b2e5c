"""What `carillon` can do: a module for each command, and what they share."""
