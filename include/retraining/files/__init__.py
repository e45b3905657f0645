"""Writing files so that nobody sees half of one, here or in a store."""
