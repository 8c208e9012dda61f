"""What code ran: as it was imported, as it lies on the disk, as git knows it."""
