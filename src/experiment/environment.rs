//! What a result depends on besides its settings; `env.json`.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::run::read_json;
use super::settings::Settings;
use crate::Result;
use crate::data::Dataset;

/// The commit this program was made from; known to release builds made in a checkout.
pub const COMMIT: &str = match option_env!("WHATWHERE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Program, machine and data of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    program: &'static str,
    version: &'static str,
    commit: &'static str,
    /// The command that began the run.
    command: Vec<String>,
    /// The commands that went on with it, in order.
    resumed: Vec<Vec<String>>,
    os: &'static str,
    architecture: &'static str,
    processor: String,
    threads: usize,
    device: Option<String>,
    train: DataInfo,
    test: DataInfo,
}

#[derive(Clone, Debug, Serialize)]
struct DataInfo {
    name: String,
    split: String,
    images: usize,
    classes: usize,
    sha256: String,
}

impl Environment {
    /// The environment of a run of `settings` on a training and a test set.
    pub fn of(settings: &Settings, data: [&Arc<dyn Dataset>; 2]) -> Result<Self> {
        let [train, test] = data.map(|set| describe(set.as_ref()));
        Ok(Environment {
            program: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            commit: COMMIT,
            command: std::env::args().collect(),
            resumed: Vec::new(),
            os: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            processor: processor(),
            threads: rayon::current_num_threads(),
            device: settings.device.clone(),
            train: train?,
            test: test?,
        })
    }
}

impl Environment {
    /// The same for a run that the commands in `file` (an `env.json`, which need not exist) began.
    pub fn continuing(mut self, file: &Path) -> Self {
        #[derive(Deserialize)]
        struct Earlier {
            command: Vec<String>,
            #[serde(default)]
            resumed: Vec<Vec<String>>,
        }
        // Nothing depends on it but this record: what cannot be read begins anew.
        if let Ok(Earlier { command, resumed }) = read_json(file) {
            let own = std::mem::replace(&mut self.command, command);
            self.resumed = resumed;
            self.resumed.push(own);
        }
        self
    }
}

fn describe(set: &dyn Dataset) -> Result<DataInfo> {
    Ok(DataInfo {
        name: set.name().to_owned(),
        split: set.split().to_string(),
        images: set.len(),
        classes: set.classes().len(),
        sha256: set.sha256()?,
    })
}

/// The processor's name, where the system tells it.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|l| l.strip_prefix("model name"));
    let name = line
        .and_then(|l| l.split_once(':'))
        .map(|(_, name)| name.trim());
    name.unwrap_or("unknown").to_owned()
}

/// The command this program was called with, as one would type it.
pub fn command_line() -> String {
    as_typed(std::env::args())
}

/// A program and its arguments as one would type them in a shell.
pub fn as_typed(words: impl IntoIterator<Item = String>) -> String {
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+".contains(c);
    let quoted = words.map(|word| match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', "'\\''")),
    });
    std::iter::once(program)
        .chain(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn commands_can_be_typed_again() {
        let words = [
            "target/release/whatwhere",
            "sweep",
            "--modes",
            "local(4)",
            "it's",
            "",
        ];
        let typed = super::as_typed(words.map(String::from));
        assert_eq!(typed, r"whatwhere sweep --modes 'local(4)' 'it'\''s' ''");
    }
}
