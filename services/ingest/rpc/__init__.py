"""JSON-RPC 2.0 over HTTP and AMQP: methods that publish events."""
