"""Batch prediction: files that programs and people read, where they go, and what is known of each."""
