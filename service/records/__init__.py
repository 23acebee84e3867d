"""What is kept on disk: candidates with their rewards, and people's choices."""
