"""The command line of the Rossmann forecast under its short name."""
