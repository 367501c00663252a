//! All operations and networks on all devices and dtypes: a row for each.

use std::time::Instant;

use serde::Serialize;

use super::fuzz::{case_of, choices, shrink};
use super::network::{NetworkCase, network_cases};
use super::subject::Check;
use super::verdict::Report;
use crate::device::{Device, emulator_schedule, set_emulator_schedule};
use crate::kernels::emulator::{self, Order, Schedule};
use crate::ops::{Case, Declaration, declarations};
use crate::tensor::DType;
use crate::{Error, Result};

/// Random cases for each operation, where no number is given: on the CPU, and on devices, where each is
/// slower by orders of magnitude.
const CASES: [usize; 2] = [100, 6];

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    /// This operation or network only.
    pub op: Option<String>,
    /// On these devices; none: the CPU, and the emulator where it is built in.
    pub devices: Vec<Device>,
    /// In these dtypes only; none: in all that a device has.
    pub dtypes: Vec<DType>,
    /// Random cases for each operation, beside the declared ones.
    pub cases: Option<usize>,
    /// The seed of everything random.
    pub seed: u64,
    /// This case only.
    pub case: Option<CaseName>,
}

/// The name of a case: `declared:INDEX`, or `drawn:CHOICES` with dots between the choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseName {
    /// The case of that index in the declaration.
    Declared(usize),
    /// The case these choices lead to.
    Drawn(Vec<u32>),
}

impl std::fmt::Display for CaseName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CaseName::Declared(index) => write!(f, "declared:{index}"),
            CaseName::Drawn(choices) => {
                let choices: Vec<String> = choices.iter().map(u32::to_string).collect();
                write!(f, "drawn:{}", choices.join("."))
            }
        }
    }
}

impl std::str::FromStr for CaseName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || {
            let why = "expected declared:INDEX or drawn:CHOICES, as drawn:1.0.3";
            Error::setting("case", name, why)
        };
        let (kind, rest) = name.split_once(':').ok_or_else(unknown)?;
        let numbers = rest.split('.').filter(|n| !n.is_empty());
        let numbers = numbers.map(str::parse).collect::<Result<Vec<u32>, _>>();
        match (kind, numbers) {
            ("declared", Ok(one)) if one.len() == 1 => Ok(CaseName::Declared(one[0] as usize)),
            ("drawn", Ok(choices)) => Ok(CaseName::Drawn(choices)),
            _ => Err(unknown()),
        }
    }
}

/// What came out for an operation or a network on a device in a dtype.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The operation, or the network.
    pub op: String,
    /// The device.
    pub device: String,
    /// The dtype.
    pub dtype: String,
    /// Cases that ran.
    pub cases: usize,
    /// Single checks that passed.
    pub checks: usize,
    /// The largest error of those, as a share of its bound.
    pub worst: f64,
    /// Cases with a mismatch, or an error.
    pub mismatches: usize,
    /// Cases of which something could not be seen.
    pub unchecked: usize,
    /// Seconds it took.
    pub seconds: f64,
    /// The first case that is no pass, made as simple as possible.
    pub failure: Option<Sample>,
}

/// A case that did not pass.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// The command that runs it alone.
    pub command: String,
    /// What was found.
    pub report: String,
}

impl Row {
    /// `pass`, `mismatch` or `unchecked`.
    pub fn verdict(&self) -> &'static str {
        match (self.mismatches, self.unchecked) {
            (0, 0) => "pass",
            (0, _) => "unchecked",
            _ => "mismatch",
        }
    }
}

/// A row to be.
enum Job {
    Operation(Declaration),
    Networks(&'static str, Vec<NetworkCase>),
}

impl Job {
    fn name(&self) -> &'static str {
        match self {
            Job::Operation(declaration) => declaration.name,
            Job::Networks(name, _) => name,
        }
    }
}

impl Suite {
    /// Runs all operations and networks of the crate; `done` hears of every case: its row's name, and the
    /// share of all that is done.
    ///
    /// # Errors
    /// [`Error::Setting`] for an operation, case or dtype that is not there; [`Error::Device`] for a device
    /// that is not. What an operation returns on a case is no error but a mismatch.
    pub fn run(&self, done: &mut dyn FnMut(&str, f64)) -> Result<Vec<Row>> {
        let mut jobs: Vec<Job> = declarations().into_iter().map(Job::Operation).collect();
        for name in ["vgg-small", "resnet-small"] {
            let mut cases = network_cases()?;
            cases.retain(|case| case.model == name);
            jobs.push(Job::Networks(name, cases));
        }
        self.run_jobs(jobs, done)
    }

    /// As [`Suite::run`], for these operations.
    ///
    /// # Errors
    /// As [`Suite::run`].
    pub fn run_on(
        &self,
        declarations: Vec<Declaration>,
        done: &mut dyn FnMut(&str, f64),
    ) -> Result<Vec<Row>> {
        self.run_jobs(declarations.into_iter().map(Job::Operation).collect(), done)
    }

    fn run_jobs(&self, jobs: Vec<Job>, done: &mut dyn FnMut(&str, f64)) -> Result<Vec<Row>> {
        let jobs = self.chosen(jobs)?;
        let places = self.places()?;
        let total = (jobs.len() * places.len()) as f64;
        let mut rows = Vec::new();
        for (i, job) in jobs.iter().enumerate() {
            for (k, &(device, dtype)) in places.iter().enumerate() {
                let before = (i * places.len() + k) as f64;
                let name = format!("{} {device} {dtype}", job.name());
                let mut part = |share: f64| done(&name, (before + share) / total);
                let row = match job {
                    Job::Operation(d) => self.operation(d, device, dtype, &mut part)?,
                    Job::Networks(..) if !matches!(dtype, DType::F64 | DType::F32) => continue,
                    Job::Networks(name, cases) => {
                        self.networks(name, cases, device, dtype, &mut part)?
                    }
                };
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn chosen(&self, mut jobs: Vec<Job>) -> Result<Vec<Job>> {
        let Some(op) = &self.op else {
            return Ok(jobs);
        };
        let names: Vec<&str> = jobs.iter().map(Job::name).collect();
        let known = names.join(", ");
        jobs.retain(|job| job.name() == op);
        if jobs.is_empty() {
            let why = format!("there is no such operation; known: {known}");
            return Err(Error::setting("op", op, why));
        }
        Ok(jobs)
    }

    fn places(&self) -> Result<Vec<(Device, DType)>> {
        let devices = match &self.devices[..] {
            [] if emulator::is_available() => &[Device::Cpu, Device::Emulator][..],
            [] => &[Device::Cpu],
            devices => devices,
        };
        let mut places = Vec::new();
        for &device in devices {
            device.check()?;
            let dtypes: &[DType] = match device {
                Device::Cpu => &[DType::F64, DType::F32],
                _ => &[DType::F32, DType::F16, DType::BF16],
            };
            let chosen = |d: &&DType| self.dtypes.is_empty() || self.dtypes.contains(d);
            places.extend(dtypes.iter().filter(chosen).map(|&dtype| (device, dtype)));
        }
        if places.is_empty() {
            let why = "no device here has it: the CPU has f64 and f32, others f32, f16 and bf16";
            return Err(Error::setting("dtype", format!("{:?}", self.dtypes), why));
        }
        Ok(places)
    }

    fn named(&self, d: &Declaration, device: Device) -> Result<Vec<(CaseName, Case)>> {
        if let Some(CaseName::Drawn(choices)) = &self.case {
            let name = CaseName::Drawn(choices.clone());
            return Ok(vec![(name, case_of(d, choices))]);
        }
        let declared = (d.cases)().into_iter().enumerate();
        let mut cases: Vec<_> = declared.map(|(i, c)| (CaseName::Declared(i), c)).collect();
        if let Some(CaseName::Declared(index)) = self.case {
            let count = cases.len();
            cases.retain(|(name, _)| *name == CaseName::Declared(index));
            if cases.is_empty() {
                let why = format!("{} declares {count} cases", d.name);
                return Err(Error::setting("case", index, why));
            }
            return Ok(cases);
        }
        let drawn = self
            .cases
            .unwrap_or(CASES[(device != Device::Cpu) as usize]);
        for index in 0..drawn as u32 {
            let choices = choices(d, self.seed, index);
            let case = case_of(d, &choices);
            cases.push((CaseName::Drawn(choices), case));
        }
        Ok(cases)
    }

    fn operation(
        &self,
        d: &Declaration,
        device: Device,
        dtype: DType,
        part: &mut dyn FnMut(f64),
    ) -> Result<Row> {
        let _watched = Watched::new(device, true)?;
        let check = |case: &Case| {
            let check = Check::of(case).linear(d.linear).seed(self.seed);
            match dtype {
                DType::F64 => check.run(),
                _ => check.run_on(device, dtype),
            }
        };
        let mut row = Row::new(d.name, device, dtype);
        let begin = Instant::now();
        let cases = self.named(d, device)?;
        for (i, (name, case)) in cases.iter().enumerate() {
            part(i as f64 / cases.len() as f64);
            let report = check(case);
            let Some(first) = row.count(report) else {
                continue;
            };
            let (name, report) = match name {
                CaseName::Drawn(choices) if first.mismatched() => {
                    match shrink(d, choices.clone(), &check) {
                        Ok(simplest) => (CaseName::Drawn(simplest.choices), simplest.report),
                        // What fails with an error is shown as it is.
                        Err(_) => (name.clone(), first),
                    }
                }
                name => (name.clone(), first),
            };
            row.failure = Some(self.sample(&row, Some(&name), report.to_string()));
        }
        row.seconds = begin.elapsed().as_secs_f64();
        Ok(row)
    }

    fn networks(
        &self,
        name: &str,
        cases: &[NetworkCase],
        device: Device,
        dtype: DType,
        part: &mut dyn FnMut(f64),
    ) -> Result<Row> {
        let _fast = Watched::new(device, false)?;
        let mut row = Row::new(name, device, dtype);
        let begin = Instant::now();
        for (i, case) in cases.iter().enumerate() {
            part(i as f64 / cases.len() as f64);
            let report = match dtype {
                DType::F64 => case.run(self.seed),
                _ => case.run_on(device, dtype, self.seed),
            };
            if let Some(first) = row.count(report) {
                row.failure = Some(self.sample(&row, None, first.to_string()));
            }
        }
        row.seconds = begin.elapsed().as_secs_f64();
        Ok(row)
    }

    fn sample(&self, row: &Row, case: Option<&CaseName>, report: String) -> Sample {
        let Row {
            op, device, dtype, ..
        } = row;
        let mut command =
            format!("whatwhere gradcheck --op {op} --device {device} --dtype {dtype}");
        command += &format!(" --seed {}", self.seed);
        command += &case.map_or(String::new(), |case| format!(" --case {case}"));
        Sample { command, report }
    }
}

impl Row {
    fn new(op: &str, device: Device, dtype: DType) -> Self {
        Row {
            op: op.to_owned(),
            device: device.to_string(),
            dtype: dtype.to_string(),
            cases: 0,
            checks: 0,
            worst: 0.0,
            mismatches: 0,
            unchecked: 0,
            seconds: 0.0,
            failure: None,
        }
    }

    /// Counts a case; its report, if it is the first of its kind to be shown.
    fn count(&mut self, report: Result<Report>) -> Option<Report> {
        self.cases += 1;
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                self.mismatches += 1;
                let what = format!("the operation failed: {error}");
                let shown = self.mismatches == 1;
                return shown.then(|| Report::of_error(&self.op, what));
            }
        };
        self.checks += report
            .findings
            .iter()
            .filter(|f| f.verdict.is_pass())
            .count();
        self.worst = self.worst.max(report.worst_share());
        if report.mismatched() {
            self.mismatches += 1;
            return (self.mismatches == 1).then_some(report);
        }
        if !report.passed() {
            self.unchecked += 1;
            return (self.unchecked == 1 && self.mismatches == 0).then_some(report);
        }
        None
    }
}

/// The emulator under watch, or fast, unless the environment or a call chose a schedule.
struct Watched {
    changed: bool,
}

impl Watched {
    fn new(device: Device, checked: bool) -> Result<Self> {
        let chosen = std::env::var_os("WHATWHERE_EMULATOR_SCHEDULE").is_some();
        let changed =
            device == Device::Emulator && !chosen && emulator_schedule()? == Schedule::FAST;
        if changed && checked {
            set_emulator_schedule(Some(Schedule {
                order: Order::Random { seed: 1 },
                late_copies: true,
                checked: true,
            }));
        }
        Ok(Watched { changed })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.changed {
            set_emulator_schedule(None);
        }
    }
}
