"""What an immutable object is: freezing, handles, errors, the embedded store, interpreters."""
