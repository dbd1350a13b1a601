"""The site of the documents: what is generated from the code when it is built. ``mkdocs build --strict`` builds it."""
