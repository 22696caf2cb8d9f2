"""The loop: train what is missing, record it, ask for the next ticket."""
