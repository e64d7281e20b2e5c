"""The broker on RabbitMQ: the only code that imports aio_pika and aiormq."""
