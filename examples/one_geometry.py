"""Where a point of the specimen appears in each view, and back: the one projection model."""

import numpy as np

from lamella.geometry import TiltGeometry

# Five views about an axis at 86.7°; the specimen is tilted by 1.5° on the stage and its centre wanders.
geometry = TiltGeometry.from_angles(
    np.array([-60.0, -30.0, 0.0, 30.0, 60.0]) + 1.5,
    86.7,
    x_shift_ang=[12.0, -5.0, 0.0, 8.0, -20.0],
    y_shift_ang=[3.0, 9.0, 0.0, -7.0, 4.0],
)

# A particle 100 nm from the centre, 40 nm above the mid-plane; (x, y, z) in Å.
particle = np.array([1000.0, -300.0, 400.0])
seen = geometry.project(particle)  # (views, 2), Å from the image's centre pixel
for angle, (x, y) in zip(geometry.y_tilt_deg, seen, strict=True):
    print(f"tilt {angle:+6.1f}°: x {x:8.1f} Å, y {y:8.1f} Å")

# How deep it lies along the beam in each view: defocus grows by hand × depth.
print("depth / Å:", np.round(geometry.depth_ang(particle), 1))

# Where its height is known, one view is enough to get the point back.
again = geometry.back_project(seen, 400.0)
print("back from each view:", np.round(again, 6).tolist())
assert np.allclose(again, particle)
