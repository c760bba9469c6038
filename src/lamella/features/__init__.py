"""What several stages look for in pictures."""
