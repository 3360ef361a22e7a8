"""The HTTP server: a front process that speaks HTTP, and worker processes that predict."""
