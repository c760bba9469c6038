"""The few hot loops: projection and back-projection, diffusion, neighbourhoods.

Each has a plain reference that a test holds it to.
"""
