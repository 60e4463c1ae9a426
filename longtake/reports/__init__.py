"""Report cards of folders of videos."""
