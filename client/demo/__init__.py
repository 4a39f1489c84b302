"""Showing what icehouse does, beside pickle, on the reader's own machine: `icehouse demo`."""
