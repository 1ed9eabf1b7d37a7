"""Arrays -> fewer bits. Knows names and numbers, nothing of speech and nothing of files."""
