"""Networks as graphs of known operations: data that anyone may send, and that is checked before any of it is computed."""
