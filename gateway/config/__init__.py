"""What the user said: URLs and YAML to frozen structs, with defaults, checks and messages."""
