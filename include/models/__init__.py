"""The models, a room each. They know nothing of one another."""
