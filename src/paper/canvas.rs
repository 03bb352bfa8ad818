//! A page as a list of things to draw, and the drawing of it.
//!
//! Pages are recorded first and drawn when all are known, because a footer says how many there are. Coordinates are
//! points from the top left corner; text is placed by its base line.

use super::faces::{Faces, Weight};
use super::wrap::Line;
use krilla::{color::rgb, geom::PathBuilder, geom::Point, geom::Rect, paint::Fill, surface::Surface};

pub type Color = (u8, u8, u8);

#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub size: f32,
    pub weight: Weight,
    pub color: Color,
}

#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub x: f32,
    pub y: f32,
    pub width: f32,
    pub height: f32,
}

enum Mark {
    Text { x: f32, y: f32, style: Style, text: String },
    Area { area: Area, radius: f32, color: Color },
}

pub struct Sheet<'a> {
    faces: &'a Faces,
    marks: Vec<Mark>,
}

impl<'a> Sheet<'a> {
    pub fn new(faces: &'a Faces) -> Self {
        Self { faces, marks: Vec::new() }
    }

    pub fn text(&mut self, x: f32, y: f32, style: Style, text: impl Into<String>) {
        self.marks.push(Mark::Text { x, y, style, text: text.into() });
    }

    pub fn text_ending_at(&mut self, right: f32, y: f32, style: Style, text: impl Into<String>) {
        let text = text.into();
        let width = self.width(&text, style);
        self.text(right - width, y, style, text);
    }

    pub fn line(&mut self, x: f32, y: f32, size: f32, color: Color, line: &Line) {
        for piece in line {
            let style = Style { size, weight: piece.weight, color };
            self.text(x + piece.x, y, style, piece.text.clone());
        }
    }

    pub fn area(&mut self, area: Area, radius: f32, color: Color) {
        self.marks.push(Mark::Area { area, radius, color });
    }

    pub fn width(&self, text: &str, style: Style) -> f32 {
        self.faces.width_em(text, style.weight) * style.size
    }

    pub fn draw(&self, surface: &mut Surface<'_>) {
        for mark in &self.marks {
            match mark {
                Mark::Text { x, y, style, text } => draw_text(self.faces, surface, (*x, *y), *style, text),
                Mark::Area { area, radius, color } => draw_area(surface, *area, *radius, *color),
            }
        }
    }
}

fn fill(color: Color) -> Fill {
    Fill { paint: rgb::Color::new(color.0, color.1, color.2).into(), ..Fill::default() }
}

fn draw_text(faces: &Faces, surface: &mut Surface<'_>, at: (f32, f32), style: Style, text: &str) {
    surface.set_fill(Some(fill(style.color)));
    let mut x = at.0;
    for run in faces.runs(text, style.weight) {
        surface.draw_glyphs(Point::from_xy(x, at.1), &run.glyphs, run.font, text, style.size, false);
        x += run.width_em * style.size;
    }
}

/// A rectangle, its corners rounded by arcs near enough to circles (control points at 0.5523 of the radius).
fn draw_area(surface: &mut Surface<'_>, area: Area, radius: f32, color: Color) {
    let (left, top) = (area.x, area.y);
    let (right, bottom) = (area.x + area.width, area.y + area.height);
    let mut path = PathBuilder::new();
    if radius > 0.0 {
        let r = radius.min(area.height / 2.0).min(area.width / 2.0);
        let k = r * (1.0 - 0.5523);
        path.move_to(left + r, top);
        path.line_to(right - r, top);
        path.cubic_to(right - k, top, right, top + k, right, top + r);
        path.line_to(right, bottom - r);
        path.cubic_to(right, bottom - k, right - k, bottom, right - r, bottom);
        path.line_to(left + r, bottom);
        path.cubic_to(left + k, bottom, left, bottom - k, left, bottom - r);
        path.line_to(left, top + r);
        path.cubic_to(left, top + k, left + k, top, left + r, top);
        path.close();
    } else if let Some(rect) = Rect::from_ltrb(left, top, right, bottom) {
        path.push_rect(rect);
    }
    if let Some(path) = path.finish() {
        surface.set_fill(Some(fill(color)));
        surface.draw_path(&path);
    }
}
