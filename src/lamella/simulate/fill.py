"""Fill a slab: membranes first, then what sits in them, then filaments, beads, particles, and the small among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.simulate.bodies import ACTIN_SEGMENT_ANG, ACTIN_SEGMENT_TURN_DEG, MICROTUBULE_SEGMENT_ANG
from lamella.simulate.filaments import filament_poses, pose_angles
from lamella.simulate.film import CARBON, GOLD, Film
from lamella.simulate.gaussians import Gaussians
from lamella.simulate.library import file_template, gold_template, ice_template, made_up_template
from lamella.simulate.matter import fibonacci_sphere
from lamella.simulate.membranes import (
    HALF_BILAYER_ANG,
    hexagonal_sphere,
    membrane_angles,
    sheet_surface,
    sphere_surface,
)
from lamella.simulate.packing import (
    MEMBRANE,
    OUTSIDE,
    SOLID,
    ball_shape,
    shape_of,
    shell_shape,
    uniform_angles,
)
from lamella.simulate.slab import Slab
from lamella.simulate.specimen import Bodies, Specimen
from lamella.simulate.specimen_settings import SpecimenSettings

__all__ = ["fill_specimen"]

Array = NDArray[np.float64]

PER_MICROMOLAR_UM3 = 602.214
"""Molecules in a cubic micrometre at 1 µM."""
PATHS = 400
"""Random courses tried for one filament or sheet."""
CLEARANCE_ANG = 15.0
"""Between a vesicle and the slab's surface."""
SPIKE_REACH_ANG = 150.0
CAPSID_DEPTH_ANG = 85.0
"""From the middle of a virion's bilayer to that of its capsomers."""
CAPSOMER_SPACING_ANG = 75.0
VIRION_SPREAD = 0.08
ICE_RADII_ANG = (160.0, 260.0, 420.0)
LARGEST_ICE_PX = 80
"""Radius in pixels; a crystal is as large as a template may be, not as nature makes it."""
SHORTEST_PART = 0.6
"""Of a filament's way through the field of view that must be free; it ends where something is in its way."""
MICROTUBULE_BEND_ANG = 200_000.0
ACTIN_BEND_ANG = 60_000.0


def fill_specimen(settings: SpecimenSettings, index: int = 0) -> Specimen:
    """Make the specimen of one series, as `build_specimen` says."""
    return _Filling(settings, index).specimen()


class _Filling(Slab):
    """The slab while it is being filled: membranes, filaments, beads, crowds."""

    def specimen(self) -> Specimen:
        """Everything, in the order of size: what is large finds no place among what is small."""
        told = self.settings
        self._sheets()
        self._virions()
        self._vesicles()
        if told.membrane_proteins:
            self._membrane_proteins()
        self._filaments(told.microtubules, "microtubule", MICROTUBULE_SEGMENT_ANG, 0.0, 130.0, MICROTUBULE_BEND_ANG)
        self._filaments(told.actin, "actin", ACTIN_SEGMENT_ANG, ACTIN_SEGMENT_TURN_DEG, 50.0, ACTIN_BEND_ANG)
        beads = self._beads()
        self._particles()
        self._contamination()
        return Specimen(
            templates=tuple(self.templates),
            bodies=Bodies.joined(self.bodies),
            cloud=self._membrane_cloud(),
            beads_ang=beads,
            bead_diameter_ang=np.full(len(beads), told.bead_diameter),
            vesicles_ang=np.array([centre for centre, _ in self.vesicles]).reshape(-1, 3),
            vesicle_radii_ang=np.array([radius for _, radius in self.vesicles]),
            film=self._film(),
            field_ang=(*self.field, told.thickness),
            thickness_ang=told.thickness,
            bend_ang=told.bend,
        )

    # -- membranes

    def _sheets(self) -> None:
        for _ in range(self.settings.sheets):
            for _ in range(PATHS):
                seed = int(self.rng.integers(2**62))
                told = (self.field, self.extent, self.settings.thickness, self.midplane)
                fine = sheet_surface(np.random.default_rng(seed), *told, spacing_ang=0.7 * self.space.step_ang)
                filling = fine.filling(self.space.step_ang)
                if not (self.space.at(filling) & (MEMBRANE | SOLID)).any():
                    surface = sheet_surface(np.random.default_rng(seed), *told)
                    self.space.mark(filling, MEMBRANE)
                    self.surfaces.append(surface)
                    self.clouds.append(surface.leaflets())
                    break
            else:
                raise self.full("sheet of bilayer", float(np.hypot(*self.extent)))

    def _vesicles(self) -> None:
        told = self.settings
        largest = min(told.vesicle_radius_max, told.thickness / 2 - 2 * HALF_BILAYER_ANG + CLEARANCE_ANG)
        for in_view, count in self.counts(told.vesicles):
            for _ in range(count):
                radius = float(self.rng.uniform(min(told.vesicle_radius_min, largest), largest))
                if radius < 2 * HALF_BILAYER_ANG:
                    raise self.full("vesicle", 6 * HALF_BILAYER_ANG)
                shape = shell_shape(radius, HALF_BILAYER_ANG, self.space.step_ang)
                found = self.places(shape, 1, in_view, "vesicle", upright=True)[0]
                if len(found) == 0:
                    break
                centre = found[0]
                surface, cloud = sphere_surface(centre, radius)
                self.space.mark_shell(centre, radius, HALF_BILAYER_ANG)
                self.surfaces.append(surface)
                self.clouds.append(cloud)
                self.vesicles.append((centre, radius))

    def _virions(self) -> None:
        told = self.settings
        if not told.virions:
            return
        capsomer = self.add(made_up_template("capsomer", told.pixel_size, told.b_factor))
        spike = self.add(made_up_template("spike", told.pixel_size, told.b_factor))
        for in_view, count in self.counts(told.virions):
            for _ in range(count):
                radius = told.virion_radius * (1 + VIRION_SPREAD * float(np.clip(self.rng.normal(), -2, 2)))
                reach = radius + SPIKE_REACH_ANG
                shape = shell_shape(reach / 2, reach / 2, self.space.step_ang)
                found = self.places(shape, 1, in_view, "virion", upright=True)[0]
                if len(found) == 0:
                    break
                centre = found[0]
                self.space.mark_ball(centre, reach)
                self.clouds.append(sphere_surface(centre, radius)[1])
                self.vesicles.append((centre, radius))
                turn = uniform_angles(self.rng, 1)[1][0]
                places, towards = hexagonal_sphere(radius - CAPSID_DEPTH_ANG, CAPSOMER_SPACING_ANG)
                self._lattice(capsomer, centre, places @ turn.T, towards @ turn.T)
                self._on_sphere(spike, centre, radius, told.virion_spikes)

    def _lattice(self, template: int, centre: Array, places: Array, towards: Array) -> None:
        normals = places / np.linalg.norm(places, axis=1)[:, None]
        frame = np.stack([towards, np.cross(normals, towards), normals], axis=-1)
        # An immature shell covers about two thirds of its sphere.
        pole = self.rng.normal(size=3)
        kept = normals @ (pole / np.linalg.norm(pole)) > -0.4
        self.keep(template, places[kept] + centre, pose_angles(frame[kept]))

    def _on_sphere(self, template: int, centre: Array, radius: float, count: int) -> None:
        """As many as asked for at random places, none closer to another than an even spread's third of a step."""
        if not count:
            return
        spacing = radius * np.sqrt(4 * np.pi / count) * 0.75
        normals = fibonacci_sphere(1.0, spacing / radius)
        normals = normals[self.rng.permutation(len(normals))[:count]] @ uniform_angles(self.rng, 1)[1][0].T
        normals += self.rng.normal(scale=0.12 * spacing / radius, size=normals.shape)
        normals /= np.linalg.norm(normals, axis=1)[:, None]
        angles, _ = membrane_angles(normals, self.rng.uniform(0, 360, len(normals)))
        self.keep(template, centre + radius * normals, angles)

    def _membrane_proteins(self) -> None:
        told = self.settings
        kinds = [self.named(name) for name in told.membrane_complexes]
        shapes = [
            shape_of(self.templates[kind], self.space.step_ang, membrane_half_ang=HALF_BILAYER_ANG + 14.0)
            for kind in kinds
        ]
        for whole in self.surfaces:
            beside = np.abs(whole.points_ang[:, :2]) > np.array(self.extent) / 2
            surface = whole.select(np.logical_not(beside.any(axis=1)))
            if len(surface.points_ang) == 0:
                continue
            wanted = int(self.rng.poisson(told.membrane_proteins * surface.area_ang2 / 1e8))
            tried = self.rng.integers(len(surface.points_ang), size=50 * wanted + 1)
            angles, matrices = membrane_angles(surface.normals[tried], self.rng.uniform(0, 360, len(tried)))
            places = surface.points_ang[tried]
            for number, (kind, shape) in enumerate(zip(kinds, shapes, strict=True)):
                part = slice(number, None, len(kinds))
                most = (wanted + len(kinds) - 1 - number) // len(kinds)
                kept = self.space.fit(shape, places[part], matrices[part], most)
                self.keep(kind, places[part][kept], angles[part][kept])

    def _membrane_cloud(self) -> Gaussians:
        """Head groups, but for those that a protein has taken the place of."""
        cloud = Gaussians.joined(self.clouds)
        if not len(cloud) or not self.settings.membrane_proteins:
            return cloud
        taken = (self.space.at(cloud.places_ang) & SOLID) != 0
        return Gaussians(cloud.places_ang[~taken], cloud.weights[~taken], cloud.sigma_ang[~taken])

    # -- filaments, beads, particles

    def _filaments(
        self, count: int, name: str, segment_ang: float, turn_deg: float, radius_ang: float, bend_ang: float
    ) -> None:
        if not count:
            return
        told = self.settings
        kind = self.add(made_up_template(name, told.pixel_size, told.b_factor, particle=False))
        shape = shape_of(self.templates[kind], self.space.step_ang)
        room = told.thickness - 2 * radius_ang - 2 * self.space.step_ang
        if room < 0:
            raise self.full(name, 2 * radius_ang)
        for _ in range(count):
            for _ in range(PATHS):
                places, matrices = filament_poses(
                    self.rng, self.field, self.extent, room, self.midplane, segment_ang, turn_deg, bend_ang
                )
                points = np.einsum("nij,mj->nmi", matrices, shape.points_ang) + places[:, None]
                taken = self.space.at(points.reshape(-1, 3)).reshape(points.shape[:2])
                # What reaches beyond all that any view sees is not in the way.
                seen = (np.abs(points[..., :2]) < np.array(self.extent) / 2).all(axis=-1)
                blocked = np.logical_and(taken > 0, seen).any(axis=1)
                run = _longest_run(np.logical_not(blocked))
                in_field = np.all(np.abs(places[:, :2]) < np.array(self.field) / 2, axis=1)
                if in_field[run].sum() >= max(1, SHORTEST_PART * in_field.sum()):
                    self.space.mark(points[run].reshape(-1, 3), SOLID)
                    self.keep(kind, places[run], pose_angles(matrices[run]))
                    break
            else:
                raise self.full(name, SHORTEST_PART * max(self.field))

    def _beads(self) -> Array:
        told = self.settings
        found = [np.empty((0, 3))]
        if told.beads:
            kind = self.add(gold_template(told.bead_diameter, told.pixel_size))
            anywhere = told.bead_surfaces == "inside"
            forbid = SOLID | MEMBRANE | (OUTSIDE if anywhere else np.uint8(0))
            shape = ball_shape(told.bead_diameter / 2, self.space.step_ang, forbid)
            sides = {"both": (-1.0, 1.0), "top": (1.0,), "bottom": (-1.0,), "inside": None}[told.bead_surfaces]
            for in_view, count in self.counts(told.beads):
                places = self.places(shape, count, in_view, "bead", upright=True, sides=sides)[0]
                self.keep(kind, places, np.zeros_like(places))
                found.append(places)
        return np.concatenate(found)

    def _particles(self) -> None:
        told = self.settings
        volume_um3 = np.prod(self.field) * told.thickness * 1e-12
        wanted = told.particles
        if told.concentration:
            wanted = round(told.concentration * PER_MICROMOLAR_UM3 * volume_um3)
        if wanted:
            if told.models:
                made = [file_template(path, told.pixel_size, told.b_factor) for path in told.models]
                kinds = [self.add(template) for template in made]
            else:
                kinds = [self.named(name) for name in told.complexes]
            self._crowd(kinds, wanted, "particle")
        if told.small_particles:
            self._crowd([self.named(name) for name in told.small_complexes], told.small_particles, "small particle")

    def _crowd(self, kinds: list[int], wanted: int, what: str) -> None:
        """As many of each kind, the largest first; in view, then as dense around."""
        kinds = sorted(kinds, key=lambda kind: -self.templates[kind].radius_ang)
        for in_view, count in self.counts(wanted):
            for number, kind in enumerate(kinds):
                share = (count + len(kinds) - 1 - number) // len(kinds)
                places, angles = self.places(self.shape(kind), share, in_view, what)
                self.keep(kind, places, angles)

    def _contamination(self) -> None:
        told = self.settings
        if not told.contamination:
            return
        radii = np.minimum(ICE_RADII_ANG, LARGEST_ICE_PX * told.pixel_size)
        kinds = [
            self.add(ice_template(float(radius), told.pixel_size, told.seed * 7 + number))
            for number, radius in enumerate(radii)
        ]
        for in_view, count in self.counts(told.contamination):
            xy = self.spots(count, in_view)
            side = self.rng.choice([-1.0, 1.0], count)
            which = self.rng.integers(len(kinds), size=count)
            # A crystal lies on the surface with a part of it grown in.
            height = told.thickness / 2 + 0.6 * radii[which]
            places = np.column_stack([xy, self.midplane(xy) + side * height])
            angles, _ = uniform_angles(self.rng, count)
            for number, kind in enumerate(kinds):
                self.keep(kind, places[which == number], angles[which == number])

    def _film(self) -> Film | None:
        told = self.settings
        if told.film == "none":
            return None
        material = {"carbon": CARBON, "gold": GOLD}[told.film_material]
        towards = float(self.rng.uniform(0, 360))
        half = np.array(self.field) / 2
        if told.film == "edge":
            # A straight edge that covers about a sixth of the field.
            reach = float(half @ np.abs([np.cos(np.deg2rad(towards)), np.sin(np.deg2rad(towards))]))
            distance = 0.62 * reach
        else:
            corner = half * self.rng.choice([-1.0, 1.0], 2)
            towards = float(np.rad2deg(np.arctan2(corner[1], corner[0])) + self.rng.uniform(-12, 12))
            distance = 0.66 * float(np.linalg.norm(half))
        return Film(
            normal_deg=(towards,),
            distance_ang=(distance,),
            z_ang=-(told.thickness + told.film_thickness) / 2,
            thickness_ang=told.film_thickness,
            material=material,
            seed=told.seed * 1000 + self.index,
        )


def _longest_run(free: NDArray[np.bool_]) -> slice:
    """The longest stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], free.astype(np.int8), [0]])))
    if len(edges) == 0:
        return slice(0, 0)
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    return slice(int(edges[2 * longest]), int(edges[2 * longest + 1]))
