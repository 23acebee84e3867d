"""`make strategies`: what the strategies of `rerank` cost and keep, in the server."""
