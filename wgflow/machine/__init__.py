"""This installation on this machine: what is there, and how fast it computes."""
