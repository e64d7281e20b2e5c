"""The event log and the session store in MongoDB: the only code that imports motor and pymongo."""
