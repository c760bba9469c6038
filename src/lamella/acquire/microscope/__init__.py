"""The microscope, as a session sees it, and the ones that there are: SerialEM's, a simulated one, a recorded one."""
