"""What a task allows: the records and the file that they are read from."""
