"""Everything that can be wrong with a scan, found before it is used."""
