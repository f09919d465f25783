"""What a chain runs over: one module per carrier, each with `dial` and `listen`."""
