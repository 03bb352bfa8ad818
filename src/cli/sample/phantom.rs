//! Anatomy by formula: what tissue stands where in a head, and what a chest X-ray, an ultrasound sector and a stained
//! section look like. Coordinates run from -1 to 1, x to the image's right, y down; z from skull base 0 to vertex 1.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tissue {
    Air,
    Skin,
    Bone,
    Diploe,
    Csf,
    Grey,
    White,
    Blood,
    Oedema,
    Eye,
    Table,
}

/// One horizontal slice through the head, with a fresh bleed in the patient's right basal ganglia.
pub(super) struct Head {
    z: f32,
    /// How wide the head is here, 0 to 1.
    girth: f32,
    /// How much of the bleed is in this slice, 0 to 1; it pushes the midline to the other side.
    mass: f32,
}

impl Head {
    pub(super) fn slice(z: f32) -> Self {
        let above = ((z - 0.45) / 0.62).max(0.0);
        Self { z, girth: (1.0 - above * above).max(0.05).sqrt() * 0.96, mass: (-((z - 0.52) / 0.16).powi(2)).exp() }
    }

    pub(super) fn tissue(&self, x: f32, y: f32) -> Tissue {
        let skin = oval(x, y, 0.0, 0.0, 0.70 * self.girth, 0.86 * self.girth);
        if skin > 1.0 {
            let head_rest = oval(x, y, 0.0, -0.1, 0.92, 1.0);
            return if y > 0.45 && (1.0..1.05).contains(&head_rest) { Tissue::Table } else { Tissue::Air };
        }
        let skull = oval(x, y, 0.0, 0.0, 0.66 * self.girth, 0.82 * self.girth);
        if skull > 1.0 {
            return Tissue::Skin;
        }
        let inner = oval(x, y, 0.0, 0.01, 0.60 * self.girth, 0.75 * self.girth);
        if inner > 1.0 {
            return if (1.06..1.13).contains(&inner) { Tissue::Diploe } else { Tissue::Bone };
        }
        if self.z < 0.28
            && let Some(tissue) = self.skull_base(x, y)
        {
            return tissue;
        }
        self.brain(x, y, inner)
    }

    fn skull_base(&self, x: f32, y: f32) -> Option<Tissue> {
        let side = x.abs();
        if oval(side, y, 0.27, -0.52, 0.15, 0.16) < 1.0 {
            return Some(Tissue::Eye);
        }
        if oval(side, y, 0.0, -0.55, 0.10, 0.20) < 1.0 {
            let is_septum = side < 0.012 || (0.05..0.06).contains(&side);
            return Some(if is_septum { Tissue::Bone } else { Tissue::Air });
        }
        if oval(side, y, 0.27, -0.48, 0.20, 0.22) < 1.0 || y < -0.45 {
            return Some(if y < -0.36 { Tissue::Skin } else { Tissue::Bone });
        }
        // Petrous ridges, with air cells towards the ear.
        let ridge = (y - 0.10 + (0.5 - side) * 0.45).abs();
        if (0.12..0.56).contains(&side) && ridge < 0.02 + side * 0.14 {
            let cells = side > 0.36 && (side * 90.0).sin() * (y * 80.0).sin() > 0.2;
            return Some(if cells { Tissue::Air } else { Tissue::Bone });
        }
        None
    }

    fn brain(&self, x: f32, y: f32, inner: f32) -> Tissue {
        let mass = self.mass;
        // Trigonometry only where it can matter: big studies are made of hundreds of millions of pixels.
        if mass > 0.01 && x < 0.0 {
            let bleed = oval(x, y + 0.04 * (x * 9.0).sin(), -0.26, -0.02, 0.135 * mass, 0.19 * mass);
            if bleed < 1.0 {
                return Tissue::Blood;
            }
            if bleed < 1.55 && mass > 0.3 {
                return Tissue::Oedema;
            }
        }
        let x = x - 0.06 * mass * (1.0 - (y / 0.6).powi(2)).max(0.0);
        let side = x.abs();
        if side < 0.006 && (y.abs() > 0.25 || self.z > 0.72) {
            return Tissue::Skin;
        }
        if self.is_ventricle(x, y) {
            return Tissue::Csf;
        }
        let folds = if inner > 0.6 { self.folds(x, y) } else { 0.0 };
        if inner > 0.97 || (inner > 0.83 && folds > 1.25) || side < 0.016 && y.abs() > 0.3 {
            return Tissue::Csf;
        }
        let cortex = 0.72 + 0.07 * folds;
        let basal = oval(side, y, 0.21, -0.04, 0.09, 0.17) < 1.0 && (0.38..0.62).contains(&self.z);
        if inner > cortex || basal { Tissue::Grey } else { Tissue::White }
    }

    /// How the cortex folds in this direction from the middle.
    fn folds(&self, x: f32, y: f32) -> f32 {
        let angle = y.atan2(x);
        (angle * 17.0 + self.z * 20.0).sin() + 0.6 * (angle * 29.0 - self.z * 33.0).sin()
    }

    fn is_ventricle(&self, x: f32, y: f32) -> bool {
        let side = x.abs();
        let size = 1.0 - ((self.z - 0.56) / 0.17).powi(2);
        if size <= 0.0 {
            return (0.30..0.40).contains(&self.z) && oval(x, y, 0.0, 0.22, 0.06, 0.05) < 1.0;
        }
        let size = size.sqrt();
        let frontal = oval(side - 0.25 * (-0.22 - y).max(0.0), y, 0.075, -0.20, 0.055 * size, 0.17 * size);
        let body = oval(side - 0.35 * (y - 0.05).max(0.0), y, 0.085, 0.12, 0.05 * size, 0.26 * size);
        let third = self.z < 0.52 && side < 0.014 && (-0.05..0.14).contains(&y);
        frontal < 1.0 || body < 1.0 || third
    }
}

/// Attenuation of a chest seen from the front, 0 (air) to 1 (bone on bone).
pub(super) fn chest(x: f32, y: f32) -> f32 {
    let trunk = 0.80 - 0.28 * ((-0.55 - y).max(0.0) / 0.45).powi(2) + 0.06 * (y + 0.2).max(0.0);
    let neck = if y < -0.74 { 0.30 + 0.9 * (y + 0.86).max(0.0) * 6.0 } else { 9.0 };
    let edge = soft((trunk.min(neck) - x.abs()) * 14.0);
    if edge < 0.01 {
        return 0.02;
    }
    // Domes of the diaphragm, the right one (image left) higher.
    let dome = if x < 0.0 { 0.46 } else { 0.52 } + 0.5 * (x.abs() - 0.36).powi(2);
    let lung = |centre: f32, width: f32| {
        let inside = 1.0 - oval(x, y, centre, 0.0, width, 0.78);
        soft(inside * 9.0) * soft((dome - y) * 26.0)
    };
    let lungs = lung(-0.39, 0.33).max(lung(0.40, 0.31));
    let heart = soft((1.0 - oval(x, y, 0.13, 0.32, 0.30, 0.30)) * 6.0);
    let mediastinum = soft((0.15 + 0.03 * (y * 5.0).sin() - x.abs()) * 24.0);
    let vessels = vessels(x, y) * lungs;
    let infiltrate = 0.5 * (-((x + 0.44) / 0.13).powi(2) - ((y - 0.24) / 0.12).powi(2)).exp();
    let soft_tissue = 0.50 - 0.36 * lungs * (1.0 - heart * 0.8) * (1.0 - mediastinum * 0.7) + 0.10 * heart;
    let tissue = soft_tissue + 0.10 * mediastinum + 0.13 * vessels + 0.22 * infiltrate * lungs;
    edge * (tissue + 0.13 * ribs(x, y) + spine(x, y) + 0.16 * clavicles(x, y)).min(1.0)
}

fn vessels(x: f32, y: f32) -> f32 {
    let side = x.abs();
    let hilum = (-((side - 0.20) / 0.10).powi(2) - ((y + 0.02) / 0.16).powi(2)).exp();
    let (angle, far) = ((y + 0.02).atan2(side - 0.13), (side - 0.13).hypot(y + 0.02));
    let branches = (angle * 9.0 + (far * 11.0).sin()).cos().max(0.0).powi(12) * (-far * 3.2).exp();
    0.8 * hilum + branches
}

fn ribs(x: f32, y: f32) -> f32 {
    let side = x.abs();
    if side > 0.76 {
        return 0.0;
    }
    let mut sum: f32 = 0.0;
    for rib in 0_u8..9 {
        let start = -0.72 + f32::from(rib) * 0.15;
        // Behind: rising to the spine. In front: falling towards the breastbone, fainter.
        let behind = start + 0.10 * (side * 2.4).powi(2) - 0.04;
        let front = start + 0.40 - 0.55 * (side - 0.76).abs().powf(1.4);
        if side > 0.06 {
            sum += (-((y - behind) / 0.022).powi(2)).exp();
        }
        if side > 0.34 {
            sum += 0.5 * (-((y - front) / 0.026).powi(2)).exp();
        }
    }
    sum.min(1.3)
}

fn spine(x: f32, y: f32) -> f32 {
    let column = soft((0.075 - x.abs()) * 60.0);
    let disc = (y * 36.0).sin().max(0.0).powi(6);
    let spinous = (-(x / 0.018).powi(2)).exp() * (y * 36.0).cos().max(0.0).powi(3);
    column * (0.15 - 0.06 * disc) + 0.06 * spinous
}

fn clavicles(x: f32, y: f32) -> f32 {
    let side = x.abs();
    let line = -0.66 - 0.16 * (side - 0.10) + 0.04 * (side * 8.0).sin();
    if (0.08..0.70).contains(&side) { (-((y - line) / 0.028).powi(2)).exp() } else { 0.0 }
}

/// Echo of an apical four-chamber view, 0 to 1. `phase` runs through the heartbeat from 0 to 1.
pub(super) fn heart_echo(x: f32, y: f32, phase: f32, seed: u32) -> f32 {
    let (depth, angle) = (x.hypot(y + 1.0), x.atan2(y + 1.0));
    if depth > 1.9 || angle.abs() > 0.70 || depth < 0.06 {
        return 0.0;
    }
    let beat = (phase * std::f32::consts::TAU).cos() * 0.5 + 0.5;
    let pump = 0.72 + 0.28 * beat;
    let ventricle =
        oval(x, y, 0.20, -0.18, 0.22 * pump, 0.42 * pump).min(oval(x, y, -0.20, -0.14, 0.16 * pump, 0.36 * pump));
    let atrium = oval(x, y, 0.20, 0.52, 0.21 / pump * 0.8, 0.22).min(oval(x, y, -0.20, 0.50, 0.18, 0.21));
    let cavity = ventricle.min(atrium);
    let wall = (-((cavity - 1.15) / 0.22).powi(2)).exp();
    let hinge = 0.26 - 0.10 * beat;
    let valve = (-((y - hinge - 0.25 * (x.abs() - 0.2).abs() * (1.0 - beat)) / 0.018).powi(2)).exp();
    let valve = if (0.04..0.36).contains(&x.abs()) { valve * 0.8 } else { 0.0 };
    let tissue = if cavity < 1.0 { 0.05 } else { 0.26 + 0.5 * wall };
    let speckle = 0.45 + 1.1 * noise(seed, (angle * 90.0) as i32, (depth * 130.0) as i32);
    (tissue.max(valve) * speckle * (1.15 - 0.35 * depth)).clamp(0.0, 1.0)
}

/// A haematoxylin and eosin stained section: colour at a place of the whole slide, in pixels.
pub(super) fn stained_section(column: u32, row: u32, width: u32, height: u32) -> [u8; 3] {
    let (u, v) = (column as f32 / width as f32 * 2.0 - 1.0, row as f32 / height as f32 * 2.0 - 1.0);
    let ragged = 0.05 * (u * 11.0).sin() + 0.04 * (v * 17.0 + u * 5.0).cos();
    if oval(u, v, 0.0, 0.04, 0.86, 0.80) + ragged > 1.0 {
        return [243, 241, 244];
    }
    let (x, y) = (column as f32, row as f32);
    let fibres = ((x * 0.045 + (y * 0.021).sin() * 3.0).sin() + (y * 0.06 + x * 0.013).sin()) * 0.5;
    let mut colour = [226.0 + 10.0 * fibres, 160.0 + 26.0 * fibres, 196.0 + 14.0 * fibres];
    // Glands: a ring of nuclei around a lumen.
    let gland = cell(column, row, 150, 7);
    let ring = gland.distance / 52.0;
    if ring < 0.55 {
        colour = [240.0, 232.0, 240.0];
    } else if ring < 1.0 {
        colour = [206.0, 140.0, 190.0];
    }
    let nuclei = cell(column, row, if (0.62..0.98).contains(&ring) { 15 } else { 27 }, 3);
    if ring >= 0.55 && nuclei.distance < 4.2 + 2.0 * nuclei.size {
        colour = [96.0 + 20.0 * nuclei.size, 62.0, 140.0];
    }
    let grain = noise(5, column as i32, row as i32) * 8.0 - 4.0;
    colour.map(|part| (part + grain).clamp(0.0, 255.0) as u8)
}

struct Cell {
    distance: f32,
    size: f32,
}

/// The nearest of points scattered one a square of `pitch` pixels.
fn cell(column: u32, row: u32, pitch: u32, seed: u32) -> Cell {
    let (left, top) = ((column / pitch) as i32, (row / pitch) as i32);
    let mut nearest = Cell { distance: f32::MAX, size: 0.0 };
    for (dx, dy) in [(-1, -1), (0, -1), (1, -1), (-1, 0), (0, 0), (1, 0), (-1, 1), (0, 1), (1, 1)] {
        let (i, j) = (left + dx, top + dy);
        let x = (i as f32 + 0.2 + 0.6 * noise(seed, i, j)) * pitch as f32;
        let y = (j as f32 + 0.2 + 0.6 * noise(seed + 1, i, j)) * pitch as f32;
        let distance = (x - column as f32).hypot((y - row as f32) * 1.15);
        if distance < nearest.distance {
            nearest = Cell { distance, size: noise(seed + 2, i, j) };
        }
    }
    nearest
}

/// Noise from 0 to 1 that is the same for the same place.
pub(super) fn noise(seed: u32, x: i32, y: i32) -> f32 {
    let mut bits =
        seed.wrapping_mul(0x9E37_79B9) ^ (x as u32).wrapping_mul(0x85EB_CA6B) ^ (y as u32).wrapping_mul(0xC2B2_AE35);
    bits = (bits ^ bits >> 15).wrapping_mul(0x2C1B_3C6D);
    bits = (bits ^ bits >> 12).wrapping_mul(0x297A_2D39);
    (bits >> 8) as f32 / 16_777_216.0
}

/// 1 on the edge of the ellipse, less inside.
fn oval(x: f32, y: f32, centre_x: f32, centre_y: f32, half_width: f32, half_height: f32) -> f32 {
    let (x, y) = ((x - centre_x) / half_width, (y - centre_y) / half_height);
    (x * x + y * y).sqrt()
}

/// A soft step from 0 to 1 around zero.
fn soft(at: f32) -> f32 {
    let at = (at * 0.5 + 0.5).clamp(0.0, 1.0);
    at * at * (3.0 - 2.0 * at)
}
