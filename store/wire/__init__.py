"""The control family of the protocol without any input or output: messages, frames, a session."""
