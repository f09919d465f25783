"""What is measured, as programs that write JSON, and the network they run in."""
