"""The work behind each command of ``harness``: one file a command."""
