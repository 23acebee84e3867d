"""The command line of training, one module for each command. Heavy imports wait until a command is run."""
