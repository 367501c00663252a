//! The `whatwhere` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    whatwhere::cli::main()
}
