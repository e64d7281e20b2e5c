"""What the services ask of a broker and of a log, and what each promises in return."""
