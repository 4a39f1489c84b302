"""What talks to a store from outside: the command line."""
