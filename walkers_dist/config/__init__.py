"""What a user writes and how it is checked: schema, registry, merging, changes and errors; nothing here loads torch."""
