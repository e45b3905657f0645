"""What people are shown of a model: its page, an approval's evidence, a sentence for a notification."""
