"""The commands of ``harness``, one file each, and what they share.

The module of a command has ``EXAMPLE``, a command line for its help; ``add_arguments(parser)``,
which adds what it takes besides ``--json``; and ``run(args)``, which does it and returns the exit
status. A new command is such a file and its line in `harness.cli.COMMANDS`.
"""
