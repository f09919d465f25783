"""The compiled data path: the decisions again, a burst at a time, and the memory it shares."""
