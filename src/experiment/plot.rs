//! Plots as SVG text: accuracy over what was destroyed, and losses over epochs.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::paper;
use super::table::Curve;
use crate::train::EpochRecord;
use crate::{Error, Result};

/// Extents of a plot in pixels.
const SIZE: (u32, u32) = (720, 430);

/// Colours that stay apart for colour-blind eyes (Okabe, Ito 2008), the darkest first.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];
const GREY: RGBColor = RGBColor(140, 140, 140);

/// A curve on a plot.
struct Line {
    label: String,
    /// x, y, and half the height of the error bar.
    points: Vec<(f64, f64, f64)>,
    colour: RGBColor,
    dashed: bool,
}

impl Line {
    fn solid(label: String, index: usize, points: Vec<(f64, f64, f64)>) -> Self {
        let colour = COLOURS[index % COLOURS.len()];
        Line {
            label,
            points,
            colour,
            dashed: false,
        }
    }
}

/// What the two axes show.
struct Axes<'a> {
    x: String,
    y: String,
    x_range: (f64, f64),
    y_range: (f64, f64),
    /// About how many numbers stand below the x axis.
    x_labels: usize,
    x_label: &'a dyn Fn(f64) -> String,
    y_label: fn(f64) -> String,
    legend: SeriesLabelPosition,
}

fn failed(what: impl std::fmt::Display) -> Error {
    Error::setting("plot", "svg", what.to_string())
}

fn chart(axes: &Axes, lines: &[Line]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area, axes, lines).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

type Drawn<'a> =
    std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(area: &DrawingArea<SVGBackend<'a>, Shift>, axes: &Axes, lines: &[Line]) -> Drawn<'a> {
    area.fill(&WHITE)?;
    let text = ("sans-serif", 14).into_font();
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d(
            axes.x_range.0..axes.x_range.1,
            axes.y_range.0..axes.y_range.1,
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.08))
        .axis_style(BLACK.mix(0.4))
        .label_style(text.clone())
        .axis_desc_style(text.clone())
        .x_desc(&axes.x)
        .y_desc(&axes.y)
        .x_labels(axes.x_labels)
        .y_labels(8)
        .x_label_formatter(&|x| (axes.x_label)(*x))
        .y_label_formatter(&|y| (axes.y_label)(*y))
        .draw()?;
    for line in lines {
        let style = line.colour.stroke_width(2);
        let path: Vec<(f64, f64)> = line.points.iter().map(|p| (p.0, p.1)).collect();
        let drawn = match line.dashed {
            true => chart.draw_series(DashedLineSeries::new(path.clone(), 6, 4, style))?,
            false => chart.draw_series(LineSeries::new(path.clone(), style))?,
        };
        if !line.label.is_empty() {
            let dashed = line.dashed;
            drawn.label(&line.label).legend(move |(x, y)| {
                let end = if dashed { x + 10 } else { x + 20 };
                PathElement::new(vec![(x, y), (end, y)], style)
            });
        }
        // Dashed lines are references without a measurement of ours at their corners.
        if line.dashed {
            continue;
        }
        let marks = path
            .iter()
            .map(|&at| Circle::new(at, 3, line.colour.filled()));
        chart.draw_series(marks.take(if path.len() > 60 { 0 } else { path.len() }))?;
        let bars = line.points.iter().filter(|p| p.2 > 0.0);
        chart.draw_series(
            bars.map(|&(x, y, e)| PathElement::new(vec![(x, y - e), (x, y + e)], line.colour)),
        )?;
    }
    if lines.iter().any(|line| !line.label.is_empty()) {
        chart
            .configure_series_labels()
            .position(axes.legend.clone())
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.15))
            .label_font(text)
            .legend_area_size(28)
            .draw()?;
    }
    Ok(())
}

fn percent(x: f64) -> String {
    format!("{:.0} %", 100.0 * x)
}

/// A level line for each known ceiling, one for all data sets that share it.
fn ceilings(curves: &[Curve], x_range: (f64, f64)) -> Vec<Line> {
    let mut levels: Vec<(f64, String)> = Vec::new();
    for curve in curves {
        let Some(level) = curve.ceiling.filter(|&c| c < 1.0) else {
            continue;
        };
        match levels.iter_mut().find(|(known, _)| *known == level) {
            Some((_, names)) if names.split(", ").any(|n| n == curve.data) => {}
            Some((_, names)) => *names += &format!(", {}", curve.data),
            None => levels.push((level, curve.data.clone())),
        }
    }
    let line = |(level, names): (f64, String)| Line {
        label: format!("ceiling of a bag of features: {names}"),
        points: vec![(x_range.0, level, 0.0), (x_range.1, level, 0.0)],
        colour: COLOURS[6],
        dashed: true,
    };
    levels.into_iter().map(line).collect()
}

fn labels(curves: &[Curve]) -> Vec<String> {
    let one_model = curves.iter().all(|c| c.model == curves[0].model);
    let name = |c: &Curve| match one_model {
        true => format!("{}, {}", c.data, c.treatment),
        false => format!("{} on {}, {}", c.model, c.data, c.treatment),
    };
    curves.iter().map(name).collect()
}

/// Accuracy over the treated share of the layers, with the paper's curve for comparison.
pub fn accuracy_over_share(curves: &[Curve]) -> Result<String> {
    let mut lines = vec![Line {
        label: "VGG16, CIFAR-100 (Fan et al. 2020)".into(),
        points: paper::VGG16_CIFAR100_GAP_FC
            .iter()
            .map(|&(x, y)| (x, y, 0.0))
            .collect(),
        colour: GREY,
        dashed: true,
    }];
    for (index, (curve, label)) in curves.iter().zip(labels(curves)).enumerate() {
        let points = curve
            .points
            .iter()
            .map(|p| (p.replaced_share, p.mean, p.std));
        lines.push(Line::solid(label, index, points.collect()));
    }
    lines.extend(ceilings(curves, (0.0, 1.0)));
    let axes = Axes {
        x: "treated share of the layers".into(),
        y: "test accuracy".into(),
        x_range: (0.0, 1.0),
        y_range: (0.0, 1.02),
        x_labels: 8,
        x_label: &percent,
        y_label: percent,
        legend: SeriesLabelPosition::MiddleLeft,
    };
    chart(&axes, &lines)
}

/// Accuracy over the destroyed bits, on a logarithmic axis that begins at zero: at log10(1 + bits).
pub fn accuracy_over_bits(curves: &[Curve]) -> Result<String> {
    let place = |bits: f64| (1.0 + bits).log10();
    let mut lines = Vec::new();
    let mut most = 1.0f64;
    for (index, (curve, label)) in curves.iter().zip(labels(curves)).enumerate() {
        let mut points: Vec<_> = curve
            .points
            .iter()
            .map(|p| (place(p.bits_destroyed), p.mean, p.std))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        most = points.iter().fold(most, |m, p| m.max(p.0));
        lines.push(Line::solid(label, index, points));
    }
    let x_range = (0.0, most.ceil());
    lines.extend(ceilings(curves, x_range));
    let axes = Axes {
        x: "bits destroyed: log2 of the arrangements made equal, summed over layers (log scale)"
            .into(),
        y: "test accuracy".into(),
        x_range,
        y_range: (0.0, 1.02),
        x_labels: 8,
        x_label: &|x| match x {
            x if x < 1e-9 => "0".into(),
            x => format!("{:.0}", 10f64.powf(x)),
        },
        y_label: percent,
        legend: SeriesLabelPosition::MiddleLeft,
    };
    chart(&axes, &lines)
}

/// A curve over layers: its name, and accuracy and half a confidence interval at each layer where it
/// was measured.
pub type LayerCurve = (String, Vec<Option<(f64, f64)>>);

/// Accuracy over the layers of one network, a curve for each way of shuffling; level lines for the
/// untouched network and for guessing.
pub fn accuracy_over_layers(
    layers: &[u32],
    curves: &[LayerCurve],
    [untouched, chance]: [f64; 2],
) -> Result<String> {
    let last = layers.len().saturating_sub(1).max(1) as f64;
    // Room for the legend on the right.
    let x_range = (-0.04 * last, 1.3 * last);
    let level = |label: &str, y: f64, colour| Line {
        label: label.to_owned(),
        points: vec![(x_range.0, y, 0.0), (x_range.1, y, 0.0)],
        colour,
        dashed: true,
    };
    let mut lines = vec![
        level("untouched", untouched, COLOURS[6]),
        level("guessing", chance, GREY),
    ];
    for (index, (label, found)) in curves.iter().enumerate() {
        let at = |(i, value): (usize, &Option<(f64, f64)>)| value.map(|(y, e)| (i as f64, y, e));
        let points = found.iter().enumerate().filter_map(at).collect();
        let share = index as f64 / curves.len().saturating_sub(1).max(1) as f64;
        let mut line = Line::solid(label.clone(), index, points);
        if curves.len() > COLOURS.len() - 1 {
            line.colour = spectrum(share);
        }
        lines.push(line);
    }
    let axes = Axes {
        x: "layer".into(),
        y: "test accuracy".into(),
        x_range,
        y_range: (0.0, 1.02),
        x_labels: 2 * layers.len(),
        x_label: &|x| match (x - x.round()).abs() < 1e-6 && x >= 0.0 {
            true => layers
                .get(x.round() as usize)
                .map_or(String::new(), u32::to_string),
            false => String::new(),
        },
        y_label: percent,
        legend: SeriesLabelPosition::MiddleRight,
    };
    chart(&axes, &lines)
}

/// A colour at `share` of the way through five that stay apart.
fn spectrum(share: f64) -> RGBColor {
    let at = share * 4.0;
    let first = (at.floor() as usize).min(3);
    between(COLOURS[first], COLOURS[first + 1], at - first as f64)
}

/// Training loss over epochs of several runs in an order of their own, each with a name: colours go
/// from the first one's to the last one's.
pub fn training_losses(runs: &[(String, &[EpochRecord])]) -> Result<String> {
    let last = runs.len().saturating_sub(1).max(1);
    let line = |(index, (label, history)): (usize, &(String, &[EpochRecord]))| {
        let points = history.iter().map(|r| (r.epoch as f64, r.train_loss, 0.0));
        Line {
            colour: between(COLOURS[0], COLOURS[1], index as f64 / last as f64),
            ..Line::solid(label.clone(), index, points.collect())
        }
    };
    let lines: Vec<Line> = runs.iter().enumerate().map(line).collect();
    over_epochs("training loss", &lines, None)
}

/// The colour at `share` of the way from `a` to `b`.
fn between(a: RGBColor, b: RGBColor, share: f64) -> RGBColor {
    let mix = |a: u8, b: u8| (a as f64 + share * (b as f64 - a as f64)).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Training and test loss over the epochs of one run.
pub fn losses(history: &[EpochRecord]) -> Result<String> {
    let of = |get: fn(&EpochRecord) -> f64| {
        history
            .iter()
            .map(move |r| (r.epoch as f64, get(r), 0.0))
            .collect()
    };
    let lines = [
        Line::solid("training".into(), 0, of(|r| r.train_loss)),
        Line::solid("test".into(), 1, of(|r| r.test_loss)),
    ];
    over_epochs("loss", &lines, None)
}

/// Training and test accuracy over the epochs of one run.
pub fn accuracies(history: &[EpochRecord]) -> Result<String> {
    let of = |get: fn(&EpochRecord) -> f64| {
        history
            .iter()
            .map(move |r| (r.epoch as f64, get(r), 0.0))
            .collect()
    };
    let lines = [
        Line::solid("training".into(), 0, of(|r| r.train_accuracy)),
        Line::solid("test".into(), 1, of(|r| r.test_accuracy)),
    ];
    over_epochs("accuracy", &lines, Some(1.0))
}

fn over_epochs(what: &str, lines: &[Line], top: Option<f64>) -> Result<String> {
    let all = || lines.iter().flat_map(|l| &l.points);
    let last = all().fold(1.0f64, |m, p| m.max(p.0));
    let highest = all()
        .map(|p| p.1)
        .filter(|y| y.is_finite())
        .fold(0.0f64, f64::max);
    let axes = Axes {
        x: "epoch".into(),
        y: what.into(),
        x_range: (if last > 1.0 { 1.0 } else { 0.0 }, last),
        y_range: (
            0.0,
            top.map(|t| 1.02 * t).unwrap_or(1.05 * highest.max(0.1)),
        ),
        x_labels: 8,
        x_label: &|x| format!("{x:.0}"),
        y_label: match top {
            Some(_) => percent,
            None => |y| format!("{y:.2}"),
        },
        legend: match top {
            Some(_) => SeriesLabelPosition::LowerRight,
            None => SeriesLabelPosition::UpperRight,
        },
    };
    chart(&axes, lines)
}
