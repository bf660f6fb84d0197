"""Adapters: other libraries' clients on this core. Each module is imported by name, by who has the library it is for.

- `httpcore.adapters.httpx2`: transports for httpx2 (and so for the openai and anthropic packages)
- `httpcore.adapters.httpx`: the same for httpx 0.28
- `httpcore.adapters.requests`: an adapter to mount on a session of requests
"""
