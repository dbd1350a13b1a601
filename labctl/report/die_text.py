"""Texts in pictures that are drawn by matplotlib."""


def literal(text: str) -> str:
    """Return a text that matplotlib draws as it is, and not as a formula between dollars."""
    return text.replace("$", r"\$")
