"""What is on disk and who may change it: layout, manifest, pointer, journal, locks."""
