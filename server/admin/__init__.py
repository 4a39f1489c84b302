"""The admin face: an HTTP API and metrics on loopback. It asks the daemon, and only reads."""
