"""Measuring icehouse against pickle, msgspec, native objects and memcpy: `icehouse bench`."""
