"""The nouns: die, bias, reading, procedure, record, units, errors. They know nobody else in the suite."""
