"""The event log in MongoDB: the only code that imports motor and pymongo."""
