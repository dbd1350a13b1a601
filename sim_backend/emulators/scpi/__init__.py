"""The language of SCPI instruments: messages, command tree, parameters, status; for emulators of any of them."""
