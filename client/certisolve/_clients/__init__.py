"""What a client does, a file for each kind of question, with and without `await`."""
