"""What flows between the floors: frozen records, and the files they live in."""
