"""The nouns: die, bias, reading, procedure, record, units, errors. They import nothing else of the suite."""
