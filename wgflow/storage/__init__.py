"""Bytes of a run: its folder and its checkpoint, atomic, digested, without pickles."""
