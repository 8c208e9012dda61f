"""What the workshop's parts use and a participant need not read: data, trace, exercise checks."""
