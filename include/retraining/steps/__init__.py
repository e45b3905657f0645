"""Steps of any model's pipeline: each takes the model, its configuration, and what was asked."""
