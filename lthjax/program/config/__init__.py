"""What a configuration is: its keys, its files, what makes it valid."""
