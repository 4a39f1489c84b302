"""The compiled modules; `native/README.md` in the repository gives the order of layers."""
