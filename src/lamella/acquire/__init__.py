"""Recording tilt series of many targets at once by beam-image shift, on a real or a simulated microscope.

Frames
------
One frame of places is used, in µm, the *stage frame*: x across the tilt axis, y along it, z along the beam at a tilt of
0°; its origin is the point of the tilt axis in the middle of the beam. A place ``(x, y, z)`` of the specimen is after a
tilt by θ at ``(x cosθ + z sinθ, y, z cosθ − x sinθ)``: `geometry`'s ``Ry``. What an image shows of it is turned by the
tilt axis's angle (`geometry`'s ``Rz``) and scaled. An image shift ``s`` brings the point ``s`` of the plane across the
beam into the image's middle. Lens settings and defoci are in µm, positive is underfocus; a point's defocus is the
lens's plus ``hand · z`` of the tilted place (`geometry`'s handedness).
"""
