"""Tests of imapd/wire: framer, scanner, writer and responses."""
