//! One self-contained HTML page over finished runs: curves, table, losses, and how to do it again.

use std::fmt::Write as _;
use std::path::Path;

use super::environment::as_typed;
use super::plot;
use super::run::read_json;
use super::sweep::SweepResult;
use super::table::{Curve, Finished};
use crate::Result;

pub(super) const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem}\
figure{margin:1rem 0}figure svg{max-width:100%;height:auto}figcaption{color:#555;font-size:.9rem}\
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #e5e5e5}\
th:first-child,td:first-child{text-align:left}\
pre{background:#f5f5f5;padding:.8rem;overflow-x:auto;font-size:.85rem}\
p.verdict{background:#eef5fb;border-left:4px solid #0072b2;padding:.5rem .8rem}";

/// The report of `runs`; `command` is what made them.
///
/// # Errors
/// A plot that cannot be drawn.
pub fn html(runs: &[Finished], command: &str) -> Result<String> {
    let curves = Curve::of(runs)?;
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>whatwhere: {title}</title><style>{STYLE}</style></head><body>\
         <h1>How much “where” does the network need?</h1><p>{title}. {count}.</p>",
        title = escape(&title(&curves)),
        count = plural(runs.len(), "run"),
    );
    for curve in &curves {
        let _ = write!(
            page,
            "<p class=\"verdict\"><b>{}, {}.</b> {}</p>",
            escape(&curve.data),
            escape(&curve.treatment),
            escape(&curve.verdict())
        );
    }
    if curves.iter().any(|c| c.points.len() > 1) {
        page += "<h2>Accuracy over layers</h2>";
        figure(
            &mut page,
            &plot::accuracy_over_share(&curves)?,
            "Spatial information is taken away from a layer on up to the last convolution (or as \
             the curve's name says). Mean over seeds of ten test passes with the best epoch's \
             weights, each pass with fresh permutations; bars are one standard deviation over seeds. \
             The best epoch is selected on the test set, as in the paper; the table also gives the last \
             epoch's accuracy. Dashed grey: the authors' GAP+FC run of VGG16 on CIFAR-100.",
        );
        page += "<h2>Accuracy over destroyed information</h2>";
        figure(
            &mut page,
            &plot::accuracy_over_bits(&curves)?,
            "The same accuracies over log2 of the number of arrangements of a map that the treatment \
             makes indistinguishable, summed over the treated layers. A shuffled 2×2 map loses 4.6 \
             bits, an 8×8 map 296: layers are not equal.",
        );
    }
    page += "<h2>Table</h2>";
    curves.iter().for_each(|curve| table(&mut page, curve));
    page += "<h2>Losses</h2>";
    for curve in &curves {
        let mut lines = Vec::new();
        for point in &curve.points {
            let run = runs.iter().find(|r| point.runs.first() == Some(&r.summary));
            let name = match point.replaced_share {
                0.0 => "untouched".to_owned(),
                _ => format!("from {}", point.cut),
            };
            lines.extend(run.map(|r| (name, &r.history[..])));
        }
        let caption = format!(
            "Training loss, {} on {}, {}; the first seed of each cut.",
            curve.model, curve.data, curve.treatment
        );
        figure(&mut page, &plot::training_losses(&lines)?, &caption);
    }
    let _ = write!(page, "<h2>Do it again</h2><pre>{}</pre>", escape(command));
    if let Some(run) = runs.last() {
        let _ = write!(
            page,
            "<p>Complete settings of the last run:</p><pre>{}</pre>",
            escape(&run.settings.to_toml()?)
        );
    }
    page += "<p>Method: Fan, Xian, Losch, Schiele, <i>Analyzing the Dependency of ConvNets on Spatial \
             Information</i>, GCPR 2020.</p></body></html>\n";
    Ok(page)
}

/// The commands that made the runs in `folder`, one a line: the sweep's, or each run's own.
///
/// # Errors
/// [`crate::Error::File`] for a file of the folder that is not what its name says.
pub fn command_of(folder: &Path, runs: &[Finished]) -> Result<String> {
    let sweep = folder.join("sweep.json");
    if sweep.exists() {
        return Ok(read_json::<SweepResult>(&sweep)?.command);
    }
    #[derive(serde::Deserialize)]
    struct Env {
        command: Vec<String>,
    }
    let of = |run: &Finished| {
        let env: Env = read_json(&run.folder.join("env.json"))?;
        Ok(as_typed(env.command))
    };
    let commands: Result<Vec<String>> = runs.iter().map(of).collect();
    Ok(commands?.join("\n"))
}

fn title(curves: &[Curve]) -> String {
    let names = |get: fn(&Curve) -> &str| {
        let mut all: Vec<&str> = curves.iter().map(get).collect();
        all.sort_unstable();
        all.dedup();
        all.join(", ")
    };
    format!("{} on {}", names(|c| &c.model), names(|c| &c.data))
}

pub(super) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

pub(super) fn figure(page: &mut String, svg: &str, caption: &str) {
    let _ = write!(
        page,
        "<figure>{svg}<figcaption>{}</figcaption></figure>",
        escape(caption)
    );
}

fn table(page: &mut String, curve: &Curve) {
    let _ = write!(
        page,
        "<h3>{} on {}, {}</h3><table><tr><th>first treated layer</th><th>layers</th><th>bits</th>\
         <th>parameters</th><th>MMAC</th><th>test accuracy</th><th>last epoch</th><th>change</th>\
         <th>seeds</th></tr>",
        escape(&curve.model),
        escape(&curve.data),
        escape(&curve.treatment)
    );
    let base = curve.baseline().map(|p| p.mean);
    for p in &curve.points {
        let untouched = p.replaced_share == 0.0;
        let change = base.filter(|_| !untouched);
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{:.1} %</td><td>{:.1}</td><td>{}</td><td>{:.1}</td>\
             <td>{}</td><td>{:.2} %</td><td>{}</td><td>{}</td></tr>",
            if untouched {
                "none".to_owned()
            } else {
                p.cut.to_string()
            },
            100.0 * p.replaced_share,
            p.bits_destroyed,
            p.parameters,
            p.macs as f64 / 1e6,
            p.accuracy(),
            100.0 * p.mean_last,
            change.map_or(String::new(), |b| format!("{:+.2}", 100.0 * (p.mean - b))),
            p.seeds.len()
        );
    }
    *page += "</table>";
}

/// Text as HTML shows it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
