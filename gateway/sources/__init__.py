"""Where credentials and routes come from: files, Redis, HTTP, plugins. Runs in the resolver."""
