"""Programs that publish to Carillon as anybody would: with httpx, or with aio-pika, and nothing of Carillon's own."""
