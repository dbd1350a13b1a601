"""Keithley's Test Script Processor: a sandboxed Lua with the instrument's object tree in it."""
