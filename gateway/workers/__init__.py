"""The children: what each runs after the fork."""
