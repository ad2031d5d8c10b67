"""Fuzz targets for what reads octets from strangers; each is a script of its own."""
