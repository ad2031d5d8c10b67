"""Tests of imapd/directory: people, LDIF files, passwords and the chain of directories."""
