"""The reward model as a library: one conversation template, one scorer protocol, several backends."""
