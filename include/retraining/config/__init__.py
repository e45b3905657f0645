"""Sections of a model's configuration beside its life cycle."""
