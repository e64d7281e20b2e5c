"""A worker whose jobs are streams: `job/<id>` shows how far each is, by JSON-RPC."""
