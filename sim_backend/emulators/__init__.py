"""Emulated instruments that speak their real dialects and share one simulated world.

Any driver can connect to them: in process, byte for byte, or over sockets on 127.0.0.1.
"""
