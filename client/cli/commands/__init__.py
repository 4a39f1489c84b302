"""The commands and their options, in modules that are loaded when one of theirs is used."""
