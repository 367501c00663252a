//! The table of a suite, in plain text and as one self-contained HTML page.

use std::fmt::Write as _;

use super::suite::Row;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem}\
p.verdict{border-left:4px solid;padding:.6rem .9rem;font-size:1.05rem}\
.pass{background:#e9f5ee;border-color:#1b7f4d;color:#0f5132}\
.mismatch{background:#fbeaea;border-color:#b3261e;color:#7d1a14}\
.unchecked{background:#fdf4e0;border-color:#b26a00;color:#714300}\
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;width:100%}\
th,td{padding:.28rem .7rem;text-align:right;border-bottom:1px solid #ececec;white-space:nowrap}\
th{color:#555;font-weight:600;border-bottom:2px solid #d5d5d5}\
th:nth-child(-n+3),td:nth-child(-n+3){text-align:left}tr.first td{border-top:2px solid #d5d5d5}\
td b{font-weight:600}span.tag{display:inline-block;padding:0 .55rem;border-radius:.7rem;font-size:.82rem}\
.bar{display:inline-block;width:6rem;height:.55rem;background:#eef1f4;border-radius:.3rem;\
margin-left:.6rem;vertical-align:middle;overflow:hidden}\
.bar i{display:block;height:100%;background:#0072b2;border-radius:.3rem}\
pre{background:#f5f5f5;padding:.8rem;overflow-x:auto;font-size:.85rem;white-space:pre-wrap}\
dt{font-weight:600;margin-top:.6rem}dd{margin:0 0 0 1rem;color:#444}\
@media(prefers-color-scheme:dark){body{background:#15181b;color:#e6e6e6}th{color:#aaa}pre{background:#20252a}\
th,td{border-color:#2c3238!important}.bar{background:#2c3238}dd{color:#bbb}\
.pass{background:#12301f;color:#9fdcb9}.mismatch{background:#3a1512;color:#f2b8b5}\
.unchecked{background:#33260b;color:#f0cf8e}}";

/// What the methods are, for who reads the page alone.
const METHODS: [(&str, &str); 9] = [
    (
        "Contract",
        "shapes and dtypes, every element written (new memory is NaN), the same bits in every run and on any number of threads, \
         nothing outside the buffers written, calls that do not disturb each other",
    ),
    (
        "Central differences",
        "vᵀJu for a random cotangent v and a random direction u in f64; entry by entry where that disagrees; \
         kinks are seen, and stepped around",
    ),
    (
        "Jacobian",
        "every entry, where input and value have at most 48 elements",
    ),
    (
        "Adjoint identity",
        "⟨A x, v⟩ = ⟨x, Aᵀ v⟩ for linear operations: no step size",
    ),
    (
        "Linearity, second order",
        "the vjp is linear in its cotangent, and its derivative is symmetric",
    ),
    (
        "Precision, device",
        "another dtype or device against f64 on the CPU, within γ_K and what roundings of the inputs do",
    ),
    (
        "Exact integers",
        "bit for bit, where small integers make the arithmetic exact",
    ),
    (
        "Networks",
        "the loss of whole networks along random directions of all weights, under every intervention",
    ),
    (
        "Error over bound",
        "the largest error of all checks that passed, as a share of what it may be; the bar is its logarithm from 10⁻⁶ to 1",
    ),
];

/// The table of `rows` in plain text, and below it what did not pass.
pub fn text(rows: &[Row]) -> String {
    let mut cells = vec![
        [
            "operation",
            "device",
            "dtype",
            "cases",
            "checks",
            "error/bound",
            "s",
            "verdict",
        ]
        .map(String::from),
    ];
    cells.extend(rows.iter().map(|row| {
        [
            row.op.clone(),
            row.device.clone(),
            row.dtype.clone(),
            row.cases.to_string(),
            row.checks.to_string(),
            format!("{:.1e}", row.worst),
            format!("{:.1}", row.seconds),
            row.verdict().to_owned(),
        ]
    }));
    let width = |i: usize| cells.iter().map(|row| row[i].len()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let line = |row: &[String; 8]| {
        let mut line = String::new();
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            line += &match i {
                0..3 => format!("{cell:width$}  "),
                7 => cell.clone(),
                _ => format!("{cell:>width$}  "),
            };
        }
        line + "\n"
    };
    let mut text: String = cells.iter().map(line).collect();
    for sample in rows.iter().filter_map(|row| row.failure.as_ref()) {
        text += &format!("\n{}\n{}\n", sample.command, sample.report);
    }
    text
}

/// The page of `rows`; `command` is what made them, `machine` what on.
pub fn html(rows: &[Row], command: &str, machine: &str) -> String {
    let mut page = String::new();
    let (verdict, sentence) = summary(rows);
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>whatwhere: gradients</title><style>{STYLE}</style></head><body>\
         <h1>Are the gradients right?</h1><p class=\"verdict {verdict}\">{}</p>",
        escape(&sentence)
    );
    page += "<table><tr><th>operation</th><th>device</th><th>dtype</th><th>cases</th><th>checks</th>\
             <th>error over bound</th><th>seconds</th><th>verdict</th></tr>";
    let mut last = "";
    for row in rows {
        line(&mut page, row, row.op != last);
        last = &row.op;
    }
    page += "</table>";
    let failures = rows
        .iter()
        .filter_map(|row| Some((row, row.failure.as_ref()?)));
    for (i, (row, sample)) in failures.enumerate() {
        if i == 0 {
            page += "<h2>What did not pass</h2>";
        }
        let _ = write!(
            page,
            "<h3>{} on {} in {}</h3><pre>{}\n\n{}</pre>",
            escape(&row.op),
            escape(&row.device),
            escape(&row.dtype),
            escape(&sample.command),
            escape(&sample.report)
        );
    }
    page += "<h2>What was checked</h2><dl>";
    for (name, what) in METHODS {
        let _ = write!(page, "<dt>{name}</dt><dd>{what}.</dd>");
    }
    let _ = writeln!(
        page,
        "</dl><h2>Do it again</h2><pre>{}</pre><p>{}</p></body></html>",
        escape(command),
        escape(machine)
    );
    page
}

/// A verdict on all rows, and a sentence.
fn summary(rows: &[Row]) -> (&'static str, String) {
    let cases: usize = rows.iter().map(|row| row.cases).sum();
    let checks: usize = rows.iter().map(|row| row.checks).sum();
    let wrong: usize = rows.iter().map(|row| row.mismatches).sum();
    let unseen: usize = rows.iter().map(|row| row.unchecked).sum();
    if wrong > 0 {
        return (
            "mismatch",
            format!("No: {wrong} of {cases} cases do not agree."),
        );
    }
    if unseen > 0 {
        let what =
            format!("As far as one can see: of {unseen} of {cases} cases not everything was seen.");
        return ("unchecked", what);
    }
    (
        "pass",
        format!("Yes: {checks} checks on {cases} cases, and every one passed."),
    )
}

fn line(page: &mut String, row: &Row, first: bool) {
    let verdict = row.verdict();
    let filled = match row.worst > 0.0 {
        true => ((row.worst.log10() + 6.0) / 6.0).clamp(0.02, 1.0) * 100.0,
        false => 0.0,
    };
    let _ = write!(
        page,
        "<tr{}><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{:.1e}<span class=\"bar\"><i style=\"width:{filled:.0}%\"></i></span></td>\
         <td>{:.1}</td><td><span class=\"tag {verdict}\">{verdict}</span></td></tr>",
        if first { " class=\"first\"" } else { "" },
        match first {
            true => format!("<b>{}</b>", escape(&row.op)),
            false => String::new(),
        },
        escape(&row.device),
        escape(&row.dtype),
        row.cases,
        row.checks,
        row.worst,
        row.seconds,
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Sample;

    fn row(op: &str, mismatches: usize, unchecked: usize) -> Row {
        Row {
            op: op.into(),
            device: "cpu".into(),
            dtype: "f64".into(),
            cases: 3,
            checks: 30,
            worst: 0.01,
            mismatches,
            unchecked,
            seconds: 0.5,
            failure: (mismatches + unchecked > 0).then(|| Sample {
                command: "whatwhere gradcheck --op <x>".into(),
                report: "1 < 2".into(),
            }),
        }
    }

    #[test]
    fn the_page_says_what_the_rows_say() {
        let good = html(&[row("a", 0, 0), row("b", 0, 0)], "command", "machine");
        assert!(good.contains("Yes: 60 checks on 6 cases") && !good.contains("did not pass"));
        let unseen = html(&[row("a", 0, 1)], "command", "machine");
        assert!(unseen.contains("As far as one can see"));
        let bad = html(&[row("a", 0, 1), row("b", 2, 0)], "command", "machine");
        assert!(bad.contains("No: 2 of 6 cases") && bad.contains("1 &lt; 2"));
        assert!(bad.contains("--op &lt;x&gt;"));
    }
}
