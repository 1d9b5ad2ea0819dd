"""Random programs as ordinary Python text, and what handgrad makes of each."""
