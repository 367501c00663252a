//! `whatwhere train --dry-run`: the network as a table.

use super::say;
use crate::Result;
use crate::experiment::Run;
use crate::models::Row;

/// Prints the network of a run: what every layer is, what it lacks and what it costs.
pub fn print(run: &Run) -> Result<()> {
    let summary = run.network().summary()?;
    let header = [
        "layer",
        "map",
        "",
        "layers",
        "destroyed",
        "bits",
        "P(identity)",
        "field",
        "parameters",
        "MMAC",
    ];
    let mut lines: Vec<Vec<String>> = vec![header.map(str::to_owned).to_vec()];
    lines.extend(
        summary
            .rows
            .iter()
            .map(|row| cells(row, run.network().image[0])),
    );
    let (parameters, macs) = (run.network().parameters(), run.network().macs()?);
    let mut total = vec![String::new(); header.len()];
    total[0] = "total".into();
    total[5] = format!("{:.1}", summary.bits());
    total[8] = parameters.to_string();
    total[9] = format!("{:.1}", macs as f64 / 1e6);
    lines.push(total);
    let widths: Vec<usize> = (0..header.len())
        .map(|i| {
            lines
                .iter()
                .map(|line| line[i].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for line in lines {
        let cells = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, &width))| match i {
                5.. => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            });
        say(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    say(
        "\nbits: log2 of the number of arrangements made equal (of one channel). \
         field: side of the theoretical receptive field in pixels.",
    )
}

fn cells(row: &Row, image: usize) -> Vec<String> {
    let extents = |shape: &crate::tensor::Shape| match *shape.dims() {
        [h, w, c] => format!("{h}×{w}×{c}"),
        _ => shape.channels().to_string(),
    };
    let destroys = row.bits > 0.0;
    let blank = |text: String| if destroys { text } else { String::new() };
    vec![
        row.name.clone(),
        extents(&row.input),
        format!("→ {}", extents(&row.output)),
        row.layers.clone(),
        row.destroyed.clone(),
        blank(format!("{:.1}", row.bits)),
        blank(chance_of_identity(row.bits)),
        row.receptive_field
            .map_or("all".into(), |side| match side > image {
                true => format!("{side} (> image)"),
                false => side.to_string(),
            }),
        row.parameters.to_string(),
        format!("{:.1}", row.macs as f64 / 1e6),
    ]
}

/// 2 to the power of −bits, in powers of ten: far below what an `f64` holds.
fn chance_of_identity(bits: f64) -> String {
    let log10 = -bits * std::f64::consts::LOG10_2;
    let exponent = log10.floor();
    format!("{:.1}e{exponent}", 10f64.powf(log10 - exponent))
}
