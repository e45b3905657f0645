"""The commands of people for any model: promote, reject, roll back, read the record, repair."""
