"""Where the targets will be after the next tilt, and how far out of focus: one interface, four ways of knowing it."""
