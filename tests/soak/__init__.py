"""What is tried so often, or so long, that the suite has a short form of it alone: `python -m tests.soak`."""
