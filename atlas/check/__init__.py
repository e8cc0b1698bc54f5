"""Finding damage: every file below a results folder is held against its checksum and read as its readers would."""
