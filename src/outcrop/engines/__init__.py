"""The engine protocol, the registry and the engines."""
