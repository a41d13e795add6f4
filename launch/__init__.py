"""Start jobs of many processes, on this machine and on clusters."""
