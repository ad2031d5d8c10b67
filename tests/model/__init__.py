"""Tests of imapd/model: sets, flags and mailbox names."""
