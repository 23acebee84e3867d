"""What training and load tests measure with: intervals, a client for servers, server processes, plots, files."""
