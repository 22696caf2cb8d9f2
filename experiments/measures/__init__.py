"""What the experiments share, and parts of one that would make its file too long."""
