"""The truth (peers, routes, auth) and the life cycle of every child."""
