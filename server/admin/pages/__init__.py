"""The dashboard: pages that the server renders, which small scripts only keep up to date."""
