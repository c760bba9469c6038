"""One run of many tilt series: the plan, the loop over tilts and targets, the log, and going on after a stop."""
