//! `whatwhere doctor`: what this machine and this build have, and what will be used.

use clap::Args;

use crate::Result;
use crate::device::{Device, findings};
use crate::kernels::emulator;

/// Say what this machine and this build have, and what will be used.
#[derive(Args)]
pub struct DoctorArgs {
    /// Fail if this device cannot be used
    #[arg(long)]
    device: Option<Device>,
}

/// Runs the command.
pub fn run(args: DoctorArgs) -> Result<()> {
    let mut lines = vec![
        (
            "program",
            format!("whatwhere {}", env!("CARGO_PKG_VERSION")),
        ),
        ("cpu", format!("{} threads", rayon::current_num_threads())),
        ("emulator", emulator_line()),
    ];
    lines.extend(findings());
    lines.push(("auto", auto_line()));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, found) in lines {
        println!("{name:width$}  {found}");
    }
    args.device.map_or(Ok(()), Device::check)
}

fn emulator_line() -> String {
    match (emulator::is_available(), emulator::checks_accesses()) {
        (false, _) => "not built in: there was no C++ compiler, or the feature is off".into(),
        (true, true) => "built in, checks every access to memory".into(),
        (true, false) => {
            "built in; accesses to memory are not checked (the C++ compiler cannot)".into()
        }
    }
}

/// What `--device auto` uses, and why.
fn auto_line() -> String {
    match Device::Cuda(0).check() {
        Ok(()) => "uses cuda:0".into(),
        Err(why) => format!("uses cpu: {why}"),
    }
}
