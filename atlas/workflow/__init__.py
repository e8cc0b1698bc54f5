"""What makes steps rerunnable and safe: command lines, publishing, checksums, the code digest, locks, progress."""
