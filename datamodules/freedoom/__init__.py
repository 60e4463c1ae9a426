"""The embedded world: walks through the levels of Freedoom, rendered to ordinary video files and a table."""
