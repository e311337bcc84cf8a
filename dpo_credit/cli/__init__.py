"""The command line: flags, files and exit codes. Nothing imports it."""
