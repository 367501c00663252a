//! One self-contained HTML page of a profile: curves over the layers, and a table.

use std::fmt::Write as _;

use super::{Profile, Regime, Row};
use crate::Result;
use crate::experiment::plot;
use crate::experiment::report::{STYLE, escape, figure, plural};
use crate::ops::spatial_shuffle::Mode;

/// The page.
///
/// # Errors
/// A plot that cannot be drawn.
pub fn html(profile: &Profile) -> Result<String> {
    let settings = &profile.settings;
    let [model, data] = [&settings.model, &settings.data].map(|s| s.clone().unwrap_or_default());
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>whatwhere: profile of {model}</title><style>{STYLE}</style></head><body>\
         <h1>Which layers depend on where things are?</h1>\
         <p>{model} on {images} of {data}: {baseline:.2} % right when nothing is shuffled, {chance:.2} % \
         by guessing. Shuffles act in test only; nothing was trained. {draws} of the permutations for \
         each point.</p>",
        model = escape(&model),
        data = escape(&data),
        images = plural(profile.images as usize, "test image"),
        baseline = 100.0 * profile.baseline,
        chance = 100.0 * profile.chance,
        draws = plural(profile.request.draws as usize, "draw"),
    );
    let _ = write!(
        page,
        "<p class=\"verdict\">{}</p>",
        escape(&verdict(profile))
    );
    let recalibrated: &[bool] = match profile.request.recalibrate {
        0 => &[false],
        _ => &[false, true],
    };
    for &regime in &profile.request.regimes {
        let _ = write!(page, "<h2>{}</h2>", title(regime));
        for &anew in recalibrated {
            let svg = curves(profile, regime, anew)?;
            let statistics = match anew {
                false => "Normalisations keep the statistics of unshuffled maps.".to_owned(),
                true => format!(
                    "Statistics of the normalisations estimated anew from {} under the shuffle.",
                    plural(profile.request.recalibrate, "training batch")
                        .replace("batchs", "batches")
                ),
            };
            let caption = format!("{statistics} Bars are 95 % confidence intervals over draws.");
            figure(&mut page, &svg, &caption);
        }
    }
    page += "<h2>Table</h2>";
    table(&mut page, profile);
    skipped(&mut page, profile);
    let _ = writeln!(
        page,
        "<h2>Do it again</h2><pre>{}</pre><p>SHA-256 of the weights: {}</p></body></html>",
        escape(&profile.command),
        profile.weights_sha256
    );
    Ok(page)
}

fn title(regime: Regime) -> &'static str {
    match regime {
        Regime::Only => "One layer shuffled",
        Regime::Last => "The layer and all later ones shuffled",
        Regime::First => "The layer and all earlier ones shuffled",
    }
}

fn curves(profile: &Profile, regime: Regime, recalibrated: bool) -> Result<String> {
    let of = |mode: Mode| {
        let at = |&cut: &u32| {
            let row = profile.rows.iter().find(|row| {
                (row.cut, row.regime, row.mode, row.recalibrated)
                    == (cut, regime, mode, recalibrated)
            });
            row.map(|row| (row.mean, row.ci95))
        };
        (mode.to_string(), profile.done.iter().map(at).collect())
    };
    let mut curves: Vec<(String, Vec<_>)> = profile.request.modes.iter().copied().map(of).collect();
    curves.retain(|(_, points)| points.iter().any(Option::is_some));
    plot::accuracy_over_layers(&profile.done, &curves, [profile.baseline, profile.chance])
}

/// Where the full shuffle of one layer costs most, and the first layer from which it costs little.
fn verdict(profile: &Profile) -> String {
    let anew = profile.request.recalibrate > 0;
    let full: Vec<&Row> = profile
        .rows
        .iter()
        .filter(|r| (r.regime, r.mode, r.recalibrated) == (Regime::Only, Mode::Shuffle, anew))
        .collect();
    let Some(most) = full.iter().min_by(|a, b| a.change.total_cmp(&b.change)) else {
        return "No layer was shuffled alone and in full: the table says what was measured.".into();
    };
    // What a network can lose at all.
    let span = (profile.baseline - profile.chance).max(1e-9);
    let little = |row: &&&Row| -row.change < 0.05 * span;
    let tail = full.iter().rev().take_while(little).count();
    let mut text = format!(
        "Layer {} depends most on where things are: shuffled alone, it takes {:.1} of the {:.1} points \
         that can be lost.",
        most.cut,
        100.0 * (-most.change).min(span),
        100.0 * span
    );
    text += &match tail {
        0 => " Every layer up to the last one depends on it.".to_owned(),
        tail => format!(
            " From layer {} on, shuffling any single layer costs less than a twentieth of that.",
            full[full.len() - tail].cut
        ),
    };
    if anew {
        text += " (Statistics of the normalisations estimated anew.)";
    }
    text
}

fn table(page: &mut String, profile: &Profile) {
    *page += "<table><tr><th>layer</th><th>map</th><th>shuffled</th><th>mode</th><th>statistics</th>\
              <th>bits</th><th>accuracy</th><th>change</th></tr>";
    for row in &profile.rows {
        let [h, w, c] = row.map;
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{h}×{w}×{c}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1}</td>\
             <td>{:.2} ± {:.2} %</td><td>{:+.2}</td></tr>",
            row.cut,
            row.regime,
            row.mode,
            if row.recalibrated { "anew" } else { "kept" },
            row.bits,
            100.0 * row.mean,
            100.0 * row.ci95,
            100.0 * row.change
        );
    }
    *page += "</table>";
}

fn skipped(page: &mut String, profile: &Profile) {
    if profile.skipped.is_empty() {
        return;
    }
    *page += "<h2>Not measured</h2><table><tr><th>layer</th><th>shuffled</th><th>mode</th><th>why</th></tr>";
    for s in &profile.skipped {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            s.cut,
            s.regime,
            s.mode,
            escape(&s.why)
        );
    }
    *page += "</table>";
}
