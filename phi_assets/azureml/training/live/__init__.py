"""Jobs that have not ended: how all of them stand, and how long they may take."""
