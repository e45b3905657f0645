"""Where the data comes from: a git repository with files that DVC tracks, at a named revision."""
