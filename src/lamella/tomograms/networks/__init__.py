"""Networks that learn from the tomogram itself: noise2noise, noise2void, and what fills the missing wedge."""
