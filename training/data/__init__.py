"""Preference data, demonstrations and prompts: records, and readers for the formats in which they are published."""
