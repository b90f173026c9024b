"""What goes wrong on purpose: clocks, faults, scenarios and limits."""
