"""The only way out of the process to a remote host: judge the address, dial that address, and no other."""
